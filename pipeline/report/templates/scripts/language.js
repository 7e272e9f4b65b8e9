(function () {
  // Texts are in the page in both languages, and the style shows one. Attributes and titles have the Chinese beside them.
  var root = document.documentElement, button = document.getElementById("language");
  var names = ["title", "aria-label", "alt", "placeholder"], english = new WeakMap();
  function swap(element, name, chinese) {
    var kept = english.get(element) || {};
    english.set(element, kept);
    if (!(name in kept)) { kept[name] = name ? element.getAttribute(name) : element.textContent; }
    var text = root.dataset.language === "zh" ? chinese : kept[name];
    if (name) { element.setAttribute(name, text); } else { element.textContent = text; }
  }
  function apply() {
    root.lang = root.dataset.language === "zh" ? "zh-Hans" : "en";
    document.querySelectorAll("[data-zh]").forEach(function (one) { swap(one, "", one.dataset.zh); });
    names.forEach(function (name) {
      document.querySelectorAll("[data-zh-" + name + "]").forEach(function (one) {
        swap(one, name, one.getAttribute("data-zh-" + name));
      });
    });
    document.querySelectorAll("a[data-page]").forEach(function (link) { // where nothing can be stored, links remember
      if (location.search || !hanclip.stored("hanclip-language")) { link.search = "?lang=" + root.dataset.language; }
    });
    document.dispatchEvent(new Event("hanclip-language"));
  }
  button.hidden = false;
  button.addEventListener("click", function () {
    root.dataset.language = root.dataset.language === "zh" ? "en" : "zh";
    hanclip.stored("hanclip-language", root.dataset.language);
    apply();
  });
  apply();
})();
