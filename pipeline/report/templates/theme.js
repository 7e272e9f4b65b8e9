(function () {
  var root = document.documentElement, key = "hanclip-theme", button = document.getElementById("theme");
  function stored(value) {
    try { if (value) { localStorage.setItem(key, value); } return localStorage.getItem(key); } catch (e) { return value; }
  }
  function dark() {
    return (root.dataset.theme || (matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light")) === "dark";
  }
  function label() { button.textContent = dark() ? "Light" : "Dark"; button.setAttribute("aria-pressed", String(dark())); }
  var before = stored();
  if (before === "dark" || before === "light") { root.dataset.theme = before; }
  button.hidden = false;
  button.addEventListener("click", function () { root.dataset.theme = stored(dark() ? "light" : "dark"); label(); });
  label();
})();
