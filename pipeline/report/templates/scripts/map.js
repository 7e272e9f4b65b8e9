(function () {
  // The map of the vectors: draws points, moves and scales them, and picks rows by rectangle, lasso, tap and keys.
  var holder = document.getElementById("map-data");
  if (!holder) { return; }
  var data = JSON.parse(holder.textContent), total = data.ids.length, root = document.documentElement;
  holder.remove();
  function get(name) { return document.getElementById("map-" + name); }
  function bytes(text) { return Uint8Array.from(atob(text), function (c) { return c.charCodeAt(0); }); }
  function axis(text, length) {  // from the middle, in widths of the map
    var view = new DataView(bytes(text).buffer), out = new Float32Array(total);
    for (var i = 0; i < total; i++) { out[i] = (view.getUint16(2 * i, true) / 65535 - 0.5) * length; }
    return out;
  }
  var layouts = data.layouts.map(function (one) {
    return { x: axis(one.x, 1), y: axis(one.y, one.height), height: one.height };
  });
  var colours = data.colours.map(function (one) {
    return { values: bytes(one.values), groups: one.groups, ends: one.ends, alike: one.alike };
  });
  var groups = ["#0072b2", "#e69f00", "#009e73", "#d55e00", "#cc79a7", "#56b4e9", "#8a6d00", "#7f3c8d", "#a5c63b", "#8c8c8c"];
  var ramp = [[68, 1, 84], [59, 82, 139], [33, 145, 140], [94, 201, 98], [253, 231, 37]];
  var canvas = get("canvas"), pen = canvas.getContext("2d"), frame = get("frame"), hover = get("hover");
  var picked = new Set(), layout = layouts[0], colour = null, tool = 1, near = -1, active = false;
  var scale = 1, midX = 0, midY = 0, shape = null, pictures = {}, queued = false;
  var listed = 50, reach = 14, thumbnail = new Image();
  thumbnail.alt = "";
  hover.prepend(thumbnail);

  function word(name, n) {
    return data.words[name][root.dataset.language === "zh" ? 1 : 0].replace("#", n === undefined ? "" : n.toLocaleString("en"));
  }
  function shown(text) {  // as the rest of the page shows characters that hide something
    return text.replace(/[\u0000-\u001f\u007f-\u009f\u00ad\u061c\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff]/g, function (c) {
      return "<U+" + c.charCodeAt(0).toString(16).toUpperCase().padStart(4, "0") + ">";
    });
  }
  function style(name) { return getComputedStyle(root).getPropertyValue(name).trim(); }
  function side() { return Math.min(canvas.clientWidth, canvas.clientHeight / layout.height) * 0.94 * scale; }
  function left(i) { return canvas.clientWidth / 2 + (layout.x[i] - midX) * side(); }
  function top(i) { return canvas.clientHeight / 2 - (layout.y[i] - midY) * side(); }
  function rampColour(part) {
    var at = part * (ramp.length - 1), low = Math.min(Math.floor(at), ramp.length - 2), rest = at - low;
    return "rgb(" + ramp[low].map(function (v, k) { return Math.round(v + (ramp[low + 1][k] - v) * rest); }) + ")";
  }
  function colourOf(i) {
    if (!colour) { return style.bar; }
    var value = colour.values[i];
    if (value === 255) { return style.soft; }
    return colour.groups.length ? groups[value % groups.length] : rampColour(value / 254);
  }
  function draw() { if (!queued) { queued = true; requestAnimationFrame(paint); } }
  function paint() {
    queued = false;
    var ratio = window.devicePixelRatio || 1, width = canvas.clientWidth, height = canvas.clientHeight;
    if (canvas.width !== width * ratio || canvas.height !== height * ratio) {
      canvas.width = width * ratio; canvas.height = height * ratio;
    }
    pen.setTransform(ratio, 0, 0, ratio, 0, 0);
    pen.clearRect(0, 0, width, height);
    style.bar = style("--bar"); style.soft = style("--soft"); style.ink = style("--ink"); style.accent = style("--accent");
    var radius = Math.max(1.6, Math.min(6, 2.6 * Math.sqrt(scale) * Math.sqrt(1500 / Math.max(total, 300))));
    var alike = near >= 0 && colour && colour.alike ? colour.alike[near] : 0;
    for (var pass = 0; pass < 2; pass++) {  // those picked are on top
      for (var i = 0; i < total; i++) {
        if (picked.has(i) !== (pass === 1)) { continue; }
        var x = left(i), y = top(i);
        if (x < -9 || y < -9 || x > width + 9 || y > height + 9) { continue; }
        pen.globalAlpha = picked.size && !pass ? 0.45 : 0.85;
        pen.fillStyle = colourOf(i);
        pen.beginPath(); pen.arc(x, y, pass ? radius + 1 : radius, 0, 7); pen.fill();
        if (pass || (alike && colour.alike[i] === alike)) {
          pen.globalAlpha = 1; pen.strokeStyle = style.ink; pen.lineWidth = pass ? 1.2 : 2; pen.stroke();
        }
      }
    }
    pen.globalAlpha = 1;
    if (get("thumbnails") && get("thumbnails").checked) { paintPictures(width, height); }
    if (near >= 0) { ring(left(near), top(near), radius + 4); }
    if (shape) { paintShape(); }
    if (document.activeElement === canvas && canvas.matches(":focus-visible")) { cross(width / 2, height / 2); }
  }
  function ring(x, y, radius) {
    pen.strokeStyle = style.accent; pen.lineWidth = 2;
    pen.beginPath(); pen.arc(x, y, radius, 0, 7); pen.stroke();
  }
  function cross(x, y) {
    pen.strokeStyle = style.accent; pen.lineWidth = 1.5;
    pen.beginPath(); pen.moveTo(x - 9, y); pen.lineTo(x + 9, y); pen.moveTo(x, y - 9); pen.lineTo(x, y + 9); pen.stroke();
  }
  function picture(i) {
    var uri = data.pictures[i];
    if (!uri) { return null; }
    if (!pictures[i]) { pictures[i] = new Image(); pictures[i].onload = draw; pictures[i].src = uri; }
    return pictures[i];
  }
  function paintPictures(width, height) {
    var taken = [];
    data.shown.forEach(function (i) {
      var x = left(i), y = top(i), image = x > 0 && y > 0 && x < width && y < height && picture(i);
      if (!image || !image.naturalWidth || taken.some(function (one) {
        return Math.abs(one[0] - x) < 46 && Math.abs(one[1] - y) < 46;
      })) { return; }
      taken.push([x, y]);
      var part = 42 / Math.max(image.naturalWidth, image.naturalHeight);
      var w = image.naturalWidth * part, h = image.naturalHeight * part;
      pen.fillStyle = style("--tile"); pen.fillRect(x - 22, y - 22, 44, 44);
      pen.drawImage(image, x - w / 2, y - h / 2, w, h);
      pen.strokeStyle = colourOf(i); pen.lineWidth = 1.5; pen.strokeRect(x - 22, y - 22, 44, 44);
    });
  }
  function paintShape() {
    pen.strokeStyle = style.accent; pen.lineWidth = 1.5;
    pen.beginPath();
    shape.forEach(function (point, k) { if (k) { pen.lineTo(point[0], point[1]); } else { pen.moveTo(point[0], point[1]); } });
    pen.closePath(); pen.stroke();
    pen.globalAlpha = 0.12; pen.fillStyle = style.accent; pen.fill(); pen.globalAlpha = 1;
  }
  function nearest(x, y, within) {
    var best = -1, least = within * within;
    for (var i = 0; i < total; i++) {
      var dx = left(i) - x, dy = top(i) - y, d = dx * dx + dy * dy;
      if (d < least) { least = d; best = i; }
    }
    return best;
  }
  function point(i) {
    near = i;
    hover.hidden = i < 0;
    if (i >= 0) {
      var uri = data.pictures[i];
      thumbnail.hidden = !uri;
      if (uri) { thumbnail.src = uri; }
      hover.querySelector(".text").textContent = data.texts[i];
      hover.querySelector(".rid").textContent = shown(data.ids[i].slice(0, 200)) + (uri || !data.shown.length ? "" : " · " + word("no_picture"));
      var x = left(i), y = top(i);
      hover.style.left = Math.max(4, Math.min(x + 14, frame.clientWidth - hover.offsetWidth - 4)) + "px";
      hover.style.top = Math.max(4, y + hover.offsetHeight + 20 > frame.clientHeight ? y - hover.offsetHeight - 14 : y + 14) + "px";
    }
    draw();
  }
  function inside(x, y, polygon) {
    var odd = false;
    for (var i = 0, j = polygon.length - 1; i < polygon.length; j = i++) {
      var a = polygon[i], b = polygon[j];
      if ((a[1] > y) !== (b[1] > y) && x < (b[0] - a[0]) * (y - a[1]) / (b[1] - a[1]) + a[0]) { odd = !odd; }
    }
    return odd;
  }
  function pickWithin(test, add) {
    if (!add) { picked.clear(); }
    for (var i = 0; i < total; i++) { if (test(left(i), top(i))) { picked.add(i); } }
    tell();
  }
  function places() { return Array.from(picked).sort(function (a, b) { return a - b; }); }
  function tell() {
    get("count").textContent = word("picked", picked.size);
    get("copied").textContent = "";
    ["clear", "download", "csv", "copy"].forEach(function (name) { get(name).disabled = !picked.size; });
    var body = get("table").tBodies[0];
    body.textContent = "";
    places().slice(0, listed).forEach(function (i) {
      var row = body.insertRow();
      row.insertCell().textContent = shown(data.ids[i]);
      row.insertCell().textContent = data.texts[i];
    });
    if (picked.size > listed) {
      var cell = body.insertRow().insertCell();
      cell.colSpan = 2; cell.textContent = word("more", picked.size - listed);
    }
    get("table").hidden = !picked.size;
    draw();
  }
  function quoted(text) { return '"' + text.replace(/"/g, '""') + '"'; }
  function csv(full) {
    var lines = places().map(function (i) { return quoted(data.ids[i]) + (full ? "," + quoted(data.texts[i]) : ""); });
    return (full ? "id,caption\n" : "id\n") + lines.join("\n") + "\n";
  }
  function ids() {  // one in each line, or as CSV if an id would not survive that
    var all = places().map(function (i) { return data.ids[i]; });
    var odd = all.some(function (id) { return /[\r\n,\t;]|^\s|\s$|^"|^id$/i.test(id) || id === ""; });
    return odd ? csv(false) : all.join("\n") + "\n";
  }
  function download(name, text, type) {
    var link = document.createElement("a");
    link.href = URL.createObjectURL(new Blob([text], { type: type + ";charset=utf-8" }));
    link.download = name;
    link.click();
    setTimeout(function () { URL.revokeObjectURL(link.href); }, 10000);
  }
  function copy() {
    function say(name) { get("copied").textContent = word(name); }
    function byHand() {
      var area = document.createElement("textarea");
      area.value = ids(); document.body.appendChild(area); area.select();
      var done = document.execCommand("copy");
      area.remove(); say(done ? "copied" : "not_copied");
    }
    if (!navigator.clipboard) { byHand(); return; }
    navigator.clipboard.writeText(ids()).then(function () { say("copied"); }, byHand);
  }
  function zoom(factor, x, y) {
    x = x === undefined ? canvas.clientWidth / 2 : x; y = y === undefined ? canvas.clientHeight / 2 : y;
    var before = side(), dx = x - canvas.clientWidth / 2, dy = y - canvas.clientHeight / 2;
    scale = Math.max(0.5, Math.min(200, scale * factor));
    midX += dx / before - dx / side(); midY -= dy / before - dy / side();
    point(-1);
  }
  function move(dx, dy) { midX -= dx / side(); midY += dy / side(); point(-1); }
  function whole() { scale = 1; midX = midY = 0; point(-1); }
  function at(event) { var box = canvas.getBoundingClientRect(); return [event.clientX - box.left, event.clientY - box.top]; }

  var fingers = new Map(), start = null, last = null, moved = false, span = 0;
  canvas.addEventListener("pointerdown", function (event) {
    if (event.button) { return; }
    canvas.setPointerCapture(event.pointerId);
    active = true;
    fingers.set(event.pointerId, at(event));
    start = last = at(event); moved = false;
    if (fingers.size === 2) { shape = null; span = 0; }
  });
  canvas.addEventListener("pointermove", function (event) {
    var here = at(event);
    if (!fingers.has(event.pointerId)) { point(nearest(here[0], here[1], reach)); return; }
    fingers.set(event.pointerId, here);
    if (fingers.size === 2) { pinch(); return; }
    if (!start || (!moved && Math.hypot(here[0] - start[0], here[1] - start[1]) < 5)) { return; }
    moved = true;
    if (tool === 0) { move(here[0] - last[0], here[1] - last[1]); }
    else if (tool === 1) { shape = [start, [here[0], start[1]], here, [start[0], here[1]]]; draw(); }
    else { shape = (shape || [start]).concat([here]); draw(); }
    last = here;
  });
  function pinch() {
    var two = Array.from(fingers.values()), apart = Math.hypot(two[0][0] - two[1][0], two[0][1] - two[1][1]);
    var middle = [(two[0][0] + two[1][0]) / 2, (two[0][1] + two[1][1]) / 2];
    if (span) { zoom(apart / span, middle[0], middle[1]); move(middle[0] - last[0], middle[1] - last[1]); }
    span = apart; last = middle; moved = true; start = null;
  }
  function release(event) {
    if (!fingers.delete(event.pointerId)) { return; }
    var here = at(event), drawn = shape;
    shape = null;
    if (event.type === "pointerup" && start && !fingers.size) {
      if (drawn) { pickWithin(function (x, y) { return inside(x, y, drawn); }, event.shiftKey); }
      else if (!moved) { tap(nearest(here[0], here[1], event.pointerType === "mouse" ? reach : 26), event.shiftKey); }
    }
    draw();
  }
  function tap(i, add) {
    point(i);
    if (i < 0) { return; }
    if (add) { if (!picked.delete(i)) { picked.add(i); } } else { picked.clear(); picked.add(i); }
    tell();
  }
  canvas.addEventListener("pointerup", release);
  canvas.addEventListener("pointercancel", release);
  canvas.addEventListener("pointerleave", function () { if (!fingers.size) { point(-1); } });
  canvas.addEventListener("wheel", function (event) {
    if (!active && !event.ctrlKey) { return; }  // else a reader who scrolls the page would be caught
    event.preventDefault();
    var here = at(event);
    zoom(Math.exp(-Math.max(-60, Math.min(60, event.deltaY)) / 180), here[0], here[1]);
  }, { passive: false });
  canvas.addEventListener("blur", function () { active = false; draw(); });
  canvas.addEventListener("focus", draw);
  document.addEventListener("pointerdown", function (event) { if (!frame.contains(event.target)) { active = false; } });
  var keys = {
    ArrowLeft: function () { move(40, 0); }, ArrowRight: function () { move(-40, 0); },
    ArrowUp: function () { move(0, 40); }, ArrowDown: function () { move(0, -40); },
    "+": function () { zoom(1.3); }, "=": function () { zoom(1.3); }, "-": function () { zoom(1 / 1.3); },
    "0": whole, Escape: function () { picked.clear(); tell(); },
    a: function () {
      pickWithin(function (x, y) { return x >= 0 && y >= 0 && x <= canvas.clientWidth && y <= canvas.clientHeight; });
    },
    Enter: function () { tap(nearest(canvas.clientWidth / 2, canvas.clientHeight / 2, 1e9), true); }
  };
  canvas.addEventListener("keydown", function (event) {
    var act = keys[event.key.length === 1 ? event.key.toLowerCase() : event.key];
    if (!act || event.ctrlKey || event.metaKey || event.altKey) { return; }
    event.preventDefault(); act();
  });

  function dot(shade) {
    var sign = document.createElement("canvas"), context = sign.getContext("2d");
    sign.width = sign.height = 12; context.fillStyle = shade; context.fillRect(0, 0, 12, 12);
    return sign;
  }
  function strip() {
    var sign = document.createElement("canvas"), context = sign.getContext("2d");
    sign.className = "ramp"; sign.width = 140; sign.height = 12;
    for (var x = 0; x < 140; x++) { context.fillStyle = rampColour(x / 139); context.fillRect(x, 0, 1, 12); }
    return sign;
  }
  function legend() {
    var list = get("legend"), zh = root.dataset.language === "zh" ? 1 : 0;
    list.textContent = "";
    list.hidden = !colour;
    if (!colour) { return; }
    function add() { var item = document.createElement("li"); item.append.apply(item, arguments); list.appendChild(item); }
    if (colour.groups.length) { colour.groups.forEach(function (names, k) { add(dot(groups[k % groups.length]), names[zh]); }); }
    else { add(colour.ends[0], strip(), colour.ends[1]); }
    if (colour.values.indexOf(255) >= 0) { add(dot(style("--soft")), word("none")); }
  }
  function language() { get("keys").firstElementChild.textContent = word("keys"); legend(); tell(); }
  get("colour").addEventListener("change", function () {
    var place = get("colour").selectedIndex - 1;
    colour = place < 0 ? null : colours[place];
    legend(); draw();
  });
  get("layout").addEventListener("change", function () { layout = layouts[get("layout").selectedIndex]; whole(); });
  get("tool").addEventListener("change", function () { tool = get("tool").selectedIndex; });
  if (get("thumbnails")) { get("thumbnails").addEventListener("change", draw); }
  get("closer").addEventListener("click", function () { zoom(1.4); });
  get("farther").addEventListener("click", function () { zoom(1 / 1.4); });
  get("whole").addEventListener("click", whole);
  get("clear").addEventListener("click", keys.Escape);
  get("download").addEventListener("click", function () { download("ids.txt", ids(), "text/plain"); });
  get("csv").addEventListener("click", function () { download("picked.csv", csv(true), "text/csv"); });
  get("copy").addEventListener("click", copy);
  document.addEventListener("hanclip-language", language);
  ["tools", "frame", "keys", "pick"].forEach(function (name) { get(name).hidden = false; });
  get("script").hidden = true;
  get("tool").selectedIndex = 1;
  get("colour").selectedIndex = colours.length ? 1 : 0;
  colour = colours[0] || null;
  new ResizeObserver(draw).observe(canvas);
  new MutationObserver(draw).observe(root, { attributes: true, attributeFilter: ["data-theme"] });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", draw);
  language();
})();
