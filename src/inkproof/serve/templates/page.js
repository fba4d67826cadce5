(function () {
  "use strict";
  const byId = (id) => document.getElementById(id);
  const SIDE = 140; // pixels each way of the drawing that is sent
  const PEN = 0.07; // the pen's width, as a share of the drawing area
  const STEP = 1 / 28; // of a cursor key
  const PAUSE = 40; // milliseconds from one answer to the next question
  const CALM = 200; // milliseconds without a change before it is asked which pixels spoke
  function percent(share) {
    if (share > 0.999) return "> 99.9 %";
    if (share < 0.0005) return "< 0.1 %";
    return `${(100 * share).toFixed(1)} %`;
  }
  const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

  // What the server is asked

  let trouble = "";
  function tell(text) {
    if (text === trouble) return;
    trouble = text;
    byId("trouble").textContent = text;
    byId("trouble").hidden = !text;
  }

  let spoken = 0;
  function say(text) {
    clearTimeout(spoken);
    spoken = setTimeout(() => {
      if (byId("live").textContent !== text) byId("live").textContent = text;
    }, 500);
  }

  const sleep = (milliseconds) => new Promise((done) => setTimeout(done, milliseconds));

  async function ask(path, blob, options) {
    const query = new URLSearchParams(options);
    if (byId("model").value) query.set("model", byId("model").value);
    const form = new FormData();
    form.append("image", blob, "image");
    const address = query.size ? `${path}?${query}` : path;
    for (let attempt = 0; ; attempt += 1) {
      let response;
      try {
        response = await fetch(address, { method: "POST", body: form });
      } catch (error) {
        throw new Error("The server does not answer. Is it still running?");
      }
      if (response.status === 503 && attempt < 3) {
        await sleep(1000 * Math.min(5, Number(response.headers.get("Retry-After")) || 1));
        continue;
      }
      let answer = null;
      try {
        answer = await response.json();
      } catch (error) {
        // Told below.
      }
      if (response.ok && answer) return answer;
      throw new Error((answer && answer.detail) || `The server answered ${response.status}.`);
    }
  }

  // The drawing

  const pad = byId("pad");
  const ink = pad.getContext("2d");
  const sheet = document.createElement("canvas");
  sheet.width = sheet.height = SIDE;
  let strokes = [];
  let picture = null; // { blob, image } where a picture was given instead of a drawing
  let pointer = null; // the id of the pointer that draws
  let pen = null; // { x, y, down } while the keyboard draws

  function trace(context, side) {
    context.lineCap = context.lineJoin = "round";
    context.lineWidth = PEN * side;
    for (const points of strokes) {
      context.beginPath();
      context.moveTo(points[0][0] * side, points[0][1] * side);
      if (points.length === 1) context.lineTo(points[0][0] * side + 0.01, points[0][1] * side);
      for (let i = 1; i < points.length - 1; i += 1) {
        const [x, y] = points[i];
        const [nextX, nextY] = points[i + 1];
        context.quadraticCurveTo(
          x * side, y * side, ((x + nextX) / 2) * side, ((y + nextY) / 2) * side
        );
      }
      if (points.length > 1) context.lineTo(points.at(-1)[0] * side, points.at(-1)[1] * side);
      context.stroke();
    }
  }

  function paint() {
    const side = pad.width;
    ink.clearRect(0, 0, side, side);
    if (picture && picture.image) {
      const { naturalWidth: width, naturalHeight: height } = picture.image;
      const scale = Math.min(side / width, side / height);
      ink.drawImage(
        picture.image,
        (side - width * scale) / 2, (side - height * scale) / 2, width * scale, height * scale
      );
    }
    ink.strokeStyle = colour("--ink");
    trace(ink, side);
    if (pen && document.activeElement === pad) {
      ink.beginPath();
      ink.arc(pen.x * side, pen.y * side, (PEN * side) / 2 + 4, 0, 2 * Math.PI);
      ink.lineWidth = pen.down ? 6 : 3;
      ink.strokeStyle = colour("--first");
      ink.stroke();
    }
  }

  let painting = false;
  function repaint() {
    const empty = strokes.length === 0 && picture === null;
    byId("hint").hidden = !empty || pen !== null;
    for (const id of ["undo", "clear"]) byId(id).setAttribute("aria-disabled", String(empty));
    if (painting) return;
    painting = true;
    requestAnimationFrame(() => {
      painting = false;
      paint();
    });
  }

  function changed() {
    repaint();
    version += 1;
    look();
  }

  function place(event) {
    const box = pad.getBoundingClientRect();
    const within = (value) => Math.min(1, Math.max(0, value));
    return [
      within((event.clientX - box.left) / box.width),
      within((event.clientY - box.top) / box.height),
    ];
  }

  pad.addEventListener("pointerdown", (event) => {
    if (pointer !== null || event.button !== 0) return;
    event.preventDefault();
    pad.focus({ preventScroll: true });
    pad.setPointerCapture(event.pointerId);
    pointer = event.pointerId;
    pen = null;
    if (picture) subject += 1;
    picture = null;
    strokes.push([place(event)]);
    changed();
  });
  pad.addEventListener("pointermove", (event) => {
    if (event.pointerId !== pointer) return;
    const events = event.getCoalescedEvents ? event.getCoalescedEvents() : [];
    for (const one of events.length ? events : [event]) {
      const points = strokes.at(-1);
      const [x, y] = place(one);
      const [lastX, lastY] = points.at(-1);
      if (Math.hypot(x - lastX, y - lastY) >= 0.004) points.push([x, y]);
    }
    changed();
  });
  // No gesture of the browser's own begins on the pad: a long press would end the stroke, and after a
  // quick one the browser takes the next tap, on Clear perhaps, for the end of a fling.
  pad.addEventListener("touchstart", (event) => event.preventDefault(), { passive: false });
  for (const name of ["pointerup", "pointercancel", "lostpointercapture"])
    pad.addEventListener(name, (event) => {
      if (event.pointerId === pointer) pointer = null;
    });

  function undo() {
    if (picture) picture = null;
    else strokes.pop();
    subject += 1;
    if (pen) pen.down = false;
    pointer = null;
    changed();
  }
  function clear() {
    subject += 1;
    picture = null;
    strokes = [];
    if (pen) pen.down = false;
    pointer = null;
    changed();
  }
  byId("undo").addEventListener("click", undo);
  byId("clear").addEventListener("click", clear);

  const ARROWS = {
    ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1],
    Home: [-1, -1], PageUp: [1, -1], End: [-1, 1], PageDown: [1, 1],
  };
  const held = new Set();
  pad.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.altKey || event.metaKey) {
      if (event.key.toLowerCase() !== "z" || event.altKey) return;
      event.preventDefault();
      undo();
      return;
    }
    const { key } = event;
    if (!(key in ARROWS) && ![" ", "Backspace", "Delete"].includes(key)) return;
    event.preventDefault();
    if (key === "Backspace") return undo();
    if (key === "Delete") return clear();
    if (!pen) pen = { x: 0.5, y: 0.25, down: false };
    if (key === " ") {
      if (event.repeat) return;
      pen.down = !pen.down;
      if (pen.down) {
        if (picture) subject += 1;
        picture = null;
        strokes.push([[pen.x, pen.y]]);
        changed();
      }
      say(pen.down ? "Pen down" : "Pen up");
      repaint();
      return;
    }
    held.add(key);
    const size = STEP * (event.shiftKey ? 4 : 1);
    let [right, down] = [0, 0];
    for (const one of held) {
      right += ARROWS[one][0];
      down += ARROWS[one][1];
    }
    const within = (value) => Math.min(1, Math.max(0, value));
    pen.x = within(pen.x + size * Math.sign(right));
    pen.y = within(pen.y + size * Math.sign(down));
    if (pen.down) {
      strokes.at(-1).push([pen.x, pen.y]);
      changed();
    } else repaint();
  });
  pad.addEventListener("keyup", (event) => held.delete(event.key));
  pad.addEventListener("focus", repaint);
  pad.addEventListener("blur", () => {
    held.clear();
    if (pen) pen.down = false;
    repaint();
  });

  // The answer

  let version = 0; // of what is to be read: a stroke makes a new one
  let subject = 0; // what is read: while one draws on, an answer may be a little late
  let shown = -1; // the version whose answer is shown
  let asking = false;
  let calm = 0;

  const bars = [];
  for (let digit = 0; digit < 10; digit += 1) {
    const row = document.createElement("li");
    const [label, track, bar, value] = ["span", "span", "span", "span"].map((name) =>
      document.createElement(name)
    );
    label.textContent = String(digit);
    track.className = "track";
    bar.className = "bar";
    value.className = "value";
    value.textContent = "–";
    track.append(bar);
    row.append(label, track, value);
    byId("bars").append(row);
    bars.push({ row, bar, value });
  }

  function source() {
    if (picture) return Promise.resolve(picture.blob);
    const context = sheet.getContext("2d");
    context.fillStyle = "#fff";
    context.fillRect(0, 0, SIDE, SIDE);
    context.strokeStyle = "#000";
    trace(context, SIDE);
    return new Promise((done) => sheet.toBlob(done, "image/png"));
  }

  async function look() {
    if (asking) return;
    asking = true;
    clearTimeout(calm);
    while (shown !== version) {
      const current = version;
      const about = subject;
      try {
        if (!strokes.length && !picture) showNothing();
        else {
          const answer = await ask("/api/predict", await source(), {});
          if (about === subject) show(answer);
        }
        tell("");
      } catch (error) {
        if (current === version) {
          showNothing();
          tell(error.message);
        }
      }
      shown = current;
      if (shown !== version) await sleep(PAUSE);
    }
    asking = false;
    if ((strokes.length || picture) && !trouble) {
      const current = version;
      calm = setTimeout(() => explain(current), CALM);
    }
  }

  function setText(id, text) {
    const element = byId(id);
    if (element.textContent !== text) element.textContent = text;
  }

  function show(answer) {
    if (answer.digit === null) {
      showNothing();
      setText("sure", "No ink found");
      return;
    }
    const { digit, probabilities } = answer;
    byId("answer").classList.toggle("no", !answer.is_digit);
    setText("big", answer.is_digit ? String(digit) : "?");
    setText(
      "sure",
      answer.is_digit ? `${digit}, ${percent(answer.probability)} sure` : "Not a digit, it seems"
    );
    setText(
      "next",
      answer.is_digit
        ? `Else ${answer.runner_up}, ${percent(answer.runner_up_probability)}`
        : `If it is one: ${digit}, ${percent(answer.probability)}`
    );
    probabilities.forEach((share, one) => fill(one, share, percent(share), one === digit));
    say(
      answer.is_digit
        ? `${digit}, ${percent(answer.probability)} sure`
        : `Not a digit, it seems; the nearest is ${digit}`
    );
    const pixels = Uint8Array.from(atob(answer.image), (letter) => letter.charCodeAt(0));
    draw(byId("seen"), (index) => [pixels[index], pixels[index], pixels[index]]);
    byId("seen").setAttribute("aria-label", "What the model sees: the digit, 28 by 28 pixels");
  }

  function fill(digit, share, text, top) {
    const { row, bar, value } = bars[digit];
    bar.style.transform = `scaleX(${share})`;
    if (value.textContent !== text) value.textContent = text;
    row.classList.toggle("top", top);
  }

  function showNothing() {
    byId("answer").classList.remove("no");
    setText("big", "–");
    setText("sure", strokes.length || picture ? "No answer" : "Nothing drawn yet");
    setText("next", "\u00a0");
    for (let digit = 0; digit < 10; digit += 1) fill(digit, 0, "–", false);
    say("");
    draw(byId("seen"), () => [0, 0, 0]);
    byId("seen").setAttribute("aria-label", "What the model sees: nothing yet");
    forget();
  }

  function draw(canvas, pixel) {
    const context = canvas.getContext("2d");
    const image = context.createImageData(28, 28);
    for (let index = 0; index < 784; index += 1) {
      const [red, green, blue] = pixel(index);
      image.data.set([red, green, blue, 255], 4 * index);
    }
    context.putImageData(image, 0, 0);
  }

  let evidence = null;
  function forget() {
    evidence = null;
    setText("for", "it");
    draw(byId("evidence"), () => rgb("--paper"));
    byId("evidence").setAttribute("aria-label", "Which pixels spoke for it: nothing yet");
  }

  async function explain(current) {
    try {
      const answer = await ask("/api/predict", await source(), { explain: "true" });
      if (current !== version || !answer.explanation) return;
      evidence = answer;
      showEvidence();
    } catch (error) {
      // The prediction itself has told of it.
    }
  }

  function rgb(name) {
    const number = parseInt(colour(name).slice(1), 16);
    return [number >> 16, (number >> 8) & 255, number & 255];
  }

  function showEvidence() {
    const rows = evidence.explanation.evidence;
    const values = rows.flat();
    const pixels = Uint8Array.from(atob(evidence.image), (letter) => letter.charCodeAt(0));
    const most = Math.max(0.5, ...values.map(Math.abs));
    const [paper, good, bad, grey] = ["--paper", "--first", "--second", "--line"].map(rgb);
    draw(byId("evidence"), (index) => {
      const base = paper.map((from, part) => from + ((grey[part] - from) * pixels[index]) / 255);
      const share = Math.sqrt(Math.abs(values[index]) / most);
      const to = values[index] > 0 ? good : bad;
      return base.map((from, part) => Math.round(from + (to[part] - from) * share));
    });
    setText("for", String(evidence.digit));
    byId("evidence").setAttribute(
      "aria-label",
      `Which pixels spoke for ${evidence.digit}: most of all the ink ${where(rows, 1)}` +
        (Math.min(...values) < -0.1 * most ? `; against it the ink ${where(rows, -1)}` : "")
    );
  }

  function where(rows, sign) {
    const names = [
      "at the top left", "at the top", "at the top right",
      "on the left", "in the middle", "on the right",
      "at the bottom left", "at the bottom", "at the bottom right",
    ];
    const sums = new Array(9).fill(0);
    rows.forEach((row, y) =>
      row.forEach((value, x) => {
        const third = (at) => Math.min(2, Math.floor((3 * Math.max(0, at - 4)) / 20));
        sums[3 * third(y) + third(x)] += Math.max(0, sign * value);
      })
    );
    return names[sums.indexOf(Math.max(...sums))];
  }

  // Pictures

  async function take(file) {
    if (!file) return;
    if (mode() === "page") return readPage(file);
    strokes = [];
    pen = null;
    picture = { blob: file, image: null };
    subject += 1;
    changed();
    const mine = picture;
    mine.image = await loaded(URL.createObjectURL(file));
    if (picture === mine) repaint();
  }

  async function loaded(address) {
    const image = new Image();
    image.src = address;
    try {
      await image.decode();
      return image;
    } catch (error) {
      return null; // not every browser shows TIFF
    }
  }

  for (const id of ["choose", "shoot", "choose-page", "shoot-page"])
    byId(id).addEventListener("change", (event) => {
      take(event.target.files[0]);
      event.target.value = "";
    });
  document.addEventListener("paste", (event) => {
    const file = [...event.clipboardData.files][0];
    if (file) take(file);
  });
  document.addEventListener("dragover", (event) => {
    event.preventDefault();
    document.documentElement.classList.add("dragging");
  });
  document.addEventListener("dragleave", (event) => {
    if (!event.relatedTarget) document.documentElement.classList.remove("dragging");
  });
  document.addEventListener("drop", (event) => {
    event.preventDefault();
    document.documentElement.classList.remove("dragging");
    take(event.dataTransfer.files[0]);
  });

  // A whole page

  let reading = 0;
  let page = null;

  async function readPage(file) {
    reading += 1;
    const mine = reading;
    page = file;
    setText("page-state", "Reading …");
    try {
      const [answer, image] = await Promise.all([
        ask("/api/read", file, {}),
        loaded(URL.createObjectURL(file)),
      ]);
      if (mine !== reading) return;
      tell("");
      showPage(answer, image);
    } catch (error) {
      if (mine !== reading) return;
      byId("page-result").hidden = true;
      setText("page-state", "\u00a0");
      tell(error.message);
    }
  }

  function svg(name, attributes) {
    const element = document.createElementNS("http://www.w3.org/2000/svg", name);
    for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
    return element;
  }

  function showPage(answer, image) {
    const { width, height, digits } = answer;
    const unsure = (one) => !one.is_digit || one.probability < 0.9;
    const doubtful = digits.filter(unsure).length;
    byId("page-result").hidden = false;
    setText(
      "page-state",
      digits.length === 0
        ? "No digits found."
        : `${digits.length} digit${digits.length > 1 ? "s" : ""} found` +
          (doubtful ? `, ${doubtful} of them uncertain (dashed).` : ".")
    );
    const drawing = svg("svg", {
      viewBox: `0 0 ${width} ${height}`,
      role: "img",
      "aria-label": `${digits.length} boxes around the digits that were found`,
    });
    const photo = byId("photo");
    photo.replaceChildren(...(image ? [image] : []), drawing);
    photo.classList.toggle("blank", !image);
    if (image) image.alt = "The picture that was read";
    const scale = (photo.getBoundingClientRect().width || width) / width;
    for (const one of digits) {
      const [left, top, right, bottom] = one.box;
      const group = svg("g", unsure(one) ? { class: "unsure" } : {});
      const size = Math.max(13 / scale, 0.4 * (bottom - top));
      const label = svg("text", {
        x: (left + right) / 2,
        y: top - 4 / scale > size ? top - 4 / scale : bottom + size,
        "font-size": size,
        "stroke-width": size / 4,
      });
      label.textContent = unsure(one) ? `${one.digit}?` : String(one.digit);
      group.append(
        svg("rect", { x: left, y: top, width: right - left, height: bottom - top }), label
      );
      drawing.append(group);
    }
    setText("page-text", answer.text || " ");
    byId("page-digits").replaceChildren(
      ...digits.map((one) => {
        const row = document.createElement("tr");
        for (const text of [
          one.line, one.number, one.is_digit ? one.digit : `${one.digit}?`,
          percent(one.probability),
          `${one.runner_up}, ${percent(one.runner_up_probability)}`, one.box.join(", "),
        ]) {
          const cell = document.createElement("td");
          cell.textContent = text;
          row.append(cell);
        }
        return row;
      })
    );
  }

  // Modes and models

  const mode = () => document.querySelector("[name=mode]:checked").value;
  function switchMode() {
    byId("digit-mode").hidden = mode() !== "digit";
    byId("page-mode").hidden = mode() !== "page";
    tell("");
  }
  for (const input of document.querySelectorAll("[name=mode]"))
    input.addEventListener("change", switchMode);

  let models = [];
  function showReport() {
    const found = models.find((one) => one.id === byId("model").value);
    byId("report").hidden = !(found && found.report);
    if (found && found.report) byId("report").href = found.report;
  }

  async function listModels() {
    let answer;
    try {
      answer = await (await fetch("/api/models")).json();
    } catch (error) {
      return tell("The server does not answer. Is it still running?");
    }
    const same = JSON.stringify(answer.models) === JSON.stringify(models);
    if (same) return;
    models = answer.models;
    const chooser = byId("model");
    const before = chooser.value;
    chooser.replaceChildren(
      ...models.map((one) => {
        const option = document.createElement("option");
        option.value = one.id;
        option.textContent = one.name;
        return option;
      })
    );
    chooser.value = models.some((one) => one.id === before) ? before : answer.default;
    showReport();
  }

  byId("model").addEventListener("focus", listModels);
  byId("model").addEventListener("change", () => {
    showReport();
    forget();
    subject += 1;
    version += 1;
    look();
    if (mode() === "page" && page) readPage(page);
  });

  function repaintAll() {
    paint();
    if (evidence) showEvidence();
    else forget();
  }
  document.addEventListener("themechange", repaintAll);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", repaintAll);

  switchMode();
  listModels();
  showNothing();
  repaint();
  shown = version;
})();
