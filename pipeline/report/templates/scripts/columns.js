(function () {
  // The table of columns: search by words, and order by a column of it. Without a script it is a plain table.
  var table = document.getElementById("column-table");
  if (!table) { return; }
  var box = document.getElementById("column-search"), input = box.querySelector("input");
  var count = document.getElementById("column-count"), bodies = Array.from(table.tBodies);
  var texts = bodies.map(function (body) {  // names, types and values, and no counts
    var parts = Array.from(body.querySelectorAll(".name, td.text bdi"));
    return parts.map(function (part) { return part.textContent; }).join("\n").toLowerCase();
  });
  function search() {
    var words = input.value.toLowerCase().split(/\s+/).filter(Boolean), shown = 0;
    bodies.forEach(function (body, place) {
      body.hidden = !words.every(function (word) { return texts[place].indexOf(word) >= 0; });
      shown += body.hidden ? 0 : 1;
    });
    count.textContent = words.length ? count.title.replace("#", shown) : "";
  }
  function value(body, key) { return key === "name" ? body.dataset.name : Number(body.dataset[key]); }
  function sort(head, key) {
    var before = head.getAttribute("aria-sort"), down = key === "name" ? before === "ascending" : before !== "descending";
    table.querySelectorAll("[aria-sort]").forEach(function (one) { one.removeAttribute("aria-sort"); });
    head.setAttribute("aria-sort", down ? "descending" : "ascending");
    bodies.slice().sort(function (first, second) {
      var a = value(first, key), b = value(second, key);
      var order = key === "name" ? a.localeCompare(b) : a - b;
      return (down ? -order : order) || first.dataset.place - second.dataset.place;
    }).forEach(function (body) { table.appendChild(body); });
  }
  table.querySelectorAll("th[data-sort]").forEach(function (head) {
    var button = document.createElement("button");
    button.type = "button";
    while (head.firstChild) { button.appendChild(head.firstChild); }
    var why = button.querySelector("details");  // a button must not hold another control
    if (why) { button.replaceChildren(...why.querySelector("summary").childNodes); }
    head.appendChild(button);
    button.addEventListener("click", function () { sort(head, head.dataset.sort); });
  });
  box.hidden = false;
  input.addEventListener("input", search);
  document.addEventListener("hanclip-language", search);
})();
