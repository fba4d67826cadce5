(function () {
  "use strict";

  const data = JSON.parse(document.getElementById("data").textContent);
  const byId = (id) => document.getElementById(id);
  const SVG = "http://www.w3.org/2000/svg";
  let run = data.runs[0];

  function make(tag, className, text) {
    const element = document.createElement(tag);
    if (className) element.className = className;
    if (text !== undefined) element.textContent = text;
    return element;
  }

  function drawing(tag, attributes) {
    const element = document.createElementNS(SVG, tag);
    for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
    return element;
  }

  function picture(number) {
    const [x, y] = data.places[number];
    const [width, height] = data.tile;
    const svg = drawing("svg", {
      class: "pix",
      viewBox: `${x} ${y} ${width} ${height}`,
      "aria-hidden": "true",
    });
    svg.append(drawing("use", { href: "#sheet" }));
    return svg;
  }

  const className = (label) => data.classes[label];
  const shortName = (label) => data.short[label];
  const counted = (n, noun) => `${n.toLocaleString("en")} ${noun}${n === 1 ? "" : "s"}`;

  function share(tenths) {
    if (tenths <= 0) return "<0.1 %";
    return tenths >= 1000 ? ">99.9 %" : `${(tenths / 10).toFixed(1)} %`;
  }

  function bars(tenths, order, target) {
    const list = make("ol", "bars");
    tenths.forEach((value, place) => {
      const label = order ? order[place] : place;
      const item = make("li", label === target ? "target" : "");
      const name = make("span", "label", shortName(label));
      name.title = className(label);
      const bar = drawing("svg", {
        viewBox: "0 0 1000 1",
        preserveAspectRatio: "none",
        "aria-hidden": "true",
      });
      bar.append(drawing("rect", { width: value, height: 1 }));
      item.append(name, bar, make("span", "value", share(value)));
      list.append(item);
    });
    return list;
  }

  // The first test images

  function showFirst() {
    const list = byId("first");
    if (!list) return;
    list.replaceChildren(
      ...data.first.slice(0, run.first.length).map(([number, row, label], place) => {
        const item = make("li");
        const box = make("div", "tile");
        const target = make("span", "", `Target: ${shortName(label)}`);
        target.title = className(label);
        box.append(picture(number), target, make("span", "note", `image ${row}`));
        const [tenths, order] = run.first[place];
        item.append(box, bars(tenths, order, label));
        return item;
      }),
    );
  }

  // One mistake, enlarged

  const dialog = byId("one");

  function enlarge([number, row, label, predicted, tenths, all, order]) {
    byId("one-title").textContent = `Test image ${row}`;
    const left = make("div", "tile");
    left.append(
      picture(number),
      make("span", "", `Target: ${shortName(label)}`),
      make("span", "", `Predicted: ${shortName(predicted)}`),
      make("span", "", share(tenths)),
    );
    const parts = [left];
    if (all.length) parts.push(bars(all, order, label));
    byId("one-body").replaceChildren(...parts);
    dialog.showModal();
  }

  byId("one-close").addEventListener("click", () => dialog.close());
  dialog.addEventListener("click", (event) => {
    if (event.target === dialog) dialog.close();
  });

  function mistakeTile(entry) {
    const [number, row, label, predicted, tenths] = entry;
    const item = make("li");
    const button = make("button", "tile");
    button.type = "button";
    button.title = `Target: ${className(label)}, predicted: ${className(predicted)}`;
    button.append(
      picture(number),
      make("span", "", `Target: ${shortName(label)}`),
      make("span", "", `Predicted: ${shortName(predicted)}`),
      make("span", "note", share(tenths)),
      make("span", "hidden-text", `, test image ${row}`),
    );
    button.addEventListener("click", () => enlarge(entry));
    item.append(button);
    return item;
  }

  function rightTile([number, row, tenths], label) {
    const item = make("li");
    const box = make("div", "tile");
    box.append(picture(number), make("span", "", `Target: ${shortName(label)}`));
    box.append(make("span", "note", tenths === null ? `image ${row}` : share(tenths)));
    item.append(box);
    return item;
  }

  // All mistakes of the run

  function showMistakes() {
    const tiles = run.listed.map(mistakeTile);
    byId("surest").replaceChildren(...tiles.slice(0, data.unfolded));
    byId("rest").replaceChildren(...tiles.slice(data.unfolded));
    const more = Math.max(0, tiles.length - data.unfolded);
    byId("more").hidden = more === 0;
    byId("more-count").textContent = more.toLocaleString("en");
    const left = run.wrong - run.listed.length;
    byId("left-out").hidden = left === 0;
    byId("left-out").textContent =
      left === 0
        ? ""
        : `${counted(left, "more mistake")}, of which the network was less sure, ` +
          `${left === 1 ? "is" : "are"} left out to keep this file small.`;
    byId("mistakes-count").textContent =
      run.wrong === 0
        ? `No mistakes: all ${counted(data.images, "test image")} right.`
        : `${counted(run.wrong, "mistake")} in ${counted(data.images, "test image")}.`;
  }

  // The confusion matrix

  const matrix = byId("confusion");
  const size = data.classes.length;
  const cells = [];
  let current = [0, 0];
  let opened = null;

  function largest(diagonal) {
    let most = 0;
    run.confusion.forEach((line, row) =>
      line.forEach((count, column) => {
        if ((row === column) === diagonal) most = Math.max(most, count);
      }),
    );
    return most;
  }

  function fillMatrix() {
    const most = { r: largest(true), w: largest(false) };
    cells.forEach((line, row) =>
      line.forEach((button, column) => {
        const count = run.confusion[row][column];
        const kind = row === column ? "r" : "w";
        const share = count ? Math.log1p(count) / Math.log1p(most[kind]) : 0;
        button.parentNode.className = kind + Math.ceil(data.levels * share - 1e-9);
        button.textContent = count;
        button.setAttribute(
          "aria-label",
          `Target ${className(row)}, predicted ${className(column)}: ${count} image${count === 1 ? "" : "s"}`,
        );
      }),
    );
  }

  function buildMatrix() {
    matrix.setAttribute("role", "grid");
    Array.from(matrix.tBodies[0].rows).forEach((tableRow, row) => {
      cells.push(
        Array.from(tableRow.querySelectorAll("td")).map((cell, column) => {
          const button = make("button");
          button.type = "button";
          button.tabIndex = row === 0 && column === 0 ? 0 : -1;
          button.setAttribute("aria-expanded", "false");
          button.setAttribute("aria-controls", "cell");
          button.dataset.row = row;
          button.dataset.column = column;
          cell.replaceChildren(button);
          return button;
        }),
      );
    });
  }

  function moveTo(row, column, focus) {
    cells[current[0]][current[1]].tabIndex = -1;
    current = [row, column];
    const button = cells[row][column];
    button.tabIndex = 0;
    if (focus) button.focus();
  }

  function closeCell(focus) {
    if (!opened) return;
    const [row, column] = opened;
    cells[row][column].setAttribute("aria-expanded", "false");
    opened = null;
    byId("cell-images").replaceChildren();
    byId("cell-title").textContent = "Nothing chosen";
    byId("cell-note").textContent = "Choose a cell to see its images.";
    byId("cell-close").hidden = true;
    byId("cell").classList.remove("open");
    if (focus) moveTo(row, column, true);
  }

  function openCell(row, column) {
    if (opened) cells[opened[0]][opened[1]].setAttribute("aria-expanded", "false");
    opened = [row, column];
    cells[row][column].setAttribute("aria-expanded", "true");
    byId("cell-close").hidden = false;
    byId("cell").classList.add("open");
    fillPanel();
    // The panel may cover the cell on a small screen.
    cells[row][column].scrollIntoView({ block: "nearest", inline: "nearest" });
  }

  function fillPanel() {
    const [row, column] = opened;
    const count = run.confusion[row][column];
    const tiles =
      row === column
        ? run.right[row].map((entry) => rightTile(entry, row))
        : run.listed
            .filter((entry) => entry[2] === row && entry[3] === column)
            .map(mistakeTile);
    byId("cell-images").replaceChildren(...tiles);
    byId("cell-title").textContent =
      `Target ${className(row)}, predicted ${className(column)}: ${counted(count, "image")}`;
    let note = "";
    if (count === 0) note = "No image fell into this cell.";
    else if (tiles.length === 0) note = "None of them is in this file, to keep it small.";
    else if (row === column && tiles.length < count)
      note = `Right answers: the first ${tiles.length} of them, as examples.`;
    else if (tiles.length < count)
      note =
        tiles.length === 1
          ? "Shown is the one of which the network was surest; this file leaves out the others."
          : `Shown are the ${tiles.length} of which the network was surest; ` +
            "this file leaves out the others.";
    else if (row !== column) note = "All of them, the surest first.";
    byId("cell-note").textContent = note;
  }

  matrix.addEventListener("click", (event) => {
    const button = event.target.closest("button");
    if (!button) return;
    const row = Number(button.dataset.row);
    const column = Number(button.dataset.column);
    moveTo(row, column, false);
    openCell(row, column);
  });

  matrix.addEventListener("keydown", (event) => {
    const [row, column] = current;
    const last = size - 1;
    const all = event.ctrlKey || event.metaKey;
    const moves = {
      ArrowUp: [Math.max(0, row - 1), column],
      ArrowDown: [Math.min(last, row + 1), column],
      ArrowLeft: [row, Math.max(0, column - 1)],
      ArrowRight: [row, Math.min(last, column + 1)],
      Home: [all ? 0 : row, 0],
      End: [all ? last : row, last],
    };
    if (!(event.key in moves) || event.altKey || event.shiftKey) return;
    event.preventDefault();
    moveTo(...moves[event.key], true);
  });

  byId("explore").addEventListener("keydown", (event) => {
    if (event.key === "Escape" && opened) {
      event.preventDefault();
      closeCell(true);
    }
  });
  byId("cell-close").addEventListener("click", () => closeCell(true));

  // Which run

  function showRun(place) {
    run = data.runs[place];
    for (const element of document.querySelectorAll("[data-run-name]"))
      element.textContent = `${run.model}, seed ${run.seed}`;
    fillMatrix();
    showFirst();
    showMistakes();
    if (opened) fillPanel();
  }

  const chooser = byId("run");
  chooser.addEventListener("change", () => showRun(Number(chooser.value)));

  buildMatrix();
  // A browser that goes back may remember another choice than the page was written with.
  showRun(Number(chooser.value) || 0);
})();
