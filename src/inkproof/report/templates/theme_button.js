(function () {
  "use strict";
  const themes = ["system", "light", "dark"];
  const button = document.getElementById("theme");
  const theme = () => document.documentElement.dataset.theme || "system";
  const name = () => {
    button.textContent = `Theme: ${theme()}`;
  };
  button.addEventListener("click", () => {
    const next = themes[(themes.indexOf(theme()) + 1) % themes.length];
    if (next === "system") delete document.documentElement.dataset.theme;
    else document.documentElement.dataset.theme = next;
    try {
      if (next === "system") localStorage.removeItem("inkproof-theme");
      else localStorage.setItem("inkproof-theme", next);
    } catch (error) {
      // Without storage the choice holds until the page is closed.
    }
    name();
    document.dispatchEvent(new Event("themechange"));
  });
  name();
})();
