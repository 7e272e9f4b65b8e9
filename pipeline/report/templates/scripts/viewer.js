(function () {
  // Enlarges a picture: click, tap, Enter or Space; the arrow keys step through all pictures of the page, Escape closes.
  var viewer = document.getElementById("viewer"), shown = 0;
  function tiles() { return Array.prototype.slice.call(document.querySelectorAll("main .tile:not(.gap)")); }
  tiles().forEach(function (tile) { tile.tabIndex = 0; tile.setAttribute("role", "button"); });
  function show(index) {
    var all = tiles();
    shown = (index + all.length) % all.length;
    var figure = all[shown].closest("figure"), caption = figure && figure.querySelector("figcaption");
    viewer.querySelector(".stage").replaceChildren(all[shown].querySelector("img").cloneNode());
    viewer.querySelector(".about").replaceChildren.apply(viewer.querySelector(".about"), caption ?
      Array.prototype.map.call(caption.children, function (part) { return part.cloneNode(true); }) : []);
    var id = viewer.querySelector(".rid");
    if (id) { id.textContent = id.title; }
    viewer.querySelector(".position").textContent = (shown + 1) + " / " + all.length;
    if (!viewer.open) { viewer.showModal(); }
  }
  function opened(event) {
    var tile = event.target.closest && event.target.closest("main .tile:not(.gap)");
    if (tile) { event.preventDefault(); show(tiles().indexOf(tile)); }
  }
  document.addEventListener("click", opened);
  document.addEventListener("keydown", function (event) {
    var steps = { ArrowLeft: -1, ArrowRight: 1 }, link;
    if (event.altKey || event.ctrlKey || event.metaKey) { return; }
    if (event.key === "Enter" || event.key === " ") { opened(event); }
    if (!steps[event.key] || /^(INPUT|SELECT|TEXTAREA)$/.test(event.target.tagName)) { return; }
    if (viewer.open) { show(shown + steps[event.key]); return; }
    link = document.querySelector(steps[event.key] < 0 ? 'a[rel="prev"]' : 'a[rel="next"]');
    if (link && event.target === document.body) { location.href = link.href; }
  });
  viewer.addEventListener("click", function (event) {
    var button = event.target.closest("button");
    if (event.target === viewer || (button && "close" in button.dataset)) { viewer.close(); }
    else if (button) { show(shown + Number(button.dataset.step)); }
  });
  viewer.addEventListener("close", function () {
    var tile = tiles()[shown];
    if (tile) { tile.focus(); tile.scrollIntoView({ block: "nearest" }); }
  });
})();
