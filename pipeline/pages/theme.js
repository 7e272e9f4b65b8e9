(function () {
  var root = document.documentElement, button = document.getElementById("theme");
  var system = matchMedia("(prefers-color-scheme: dark)");
  function dark() {
    return (root.dataset.theme || (system.matches ? "dark" : "light")) === "dark";
  }
  function mark() { button.setAttribute("aria-pressed", String(dark())); }
  button.hidden = false;
  button.addEventListener("click", function () {
    root.dataset.theme = dark() ? "light" : "dark";
    hanclip.stored("hanclip-theme", root.dataset.theme);
    mark();
  });
  system.addEventListener("change", mark);
  mark();
})();
