(function () {
  var root = document.documentElement;
  function stored(key, value) {
    try { if (value) { localStorage.setItem(key, value); } return localStorage.getItem(key); } catch (e) { return value; }
  }
  function language() {
    var asked = new URLSearchParams(location.search).get("lang") || stored("hanclip-language");
    return asked === "zh" || asked === "en" ? asked : /^zh\b/i.test(navigator.language || "") ? "zh" : "en";
  }
  var theme = stored("hanclip-theme");
  if (theme === "dark" || theme === "light") { root.dataset.theme = theme; }
  root.dataset.language = language();
  root.lang = root.dataset.language === "zh" ? "zh-Hans" : "en";
  root.dataset.script = "on";
  window.hanclip = { stored: stored };
})();
