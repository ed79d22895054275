// Asks for the page again every two seconds and swaps what it shows.
(function () {
  "use strict";
  var every = 2000, most = 30000, failures = 0;
  function swap(html) {
    var next = new DOMParser().parseFromString(html, "text/html");
    document.title = next.title;
    ["main", "now"].forEach(function (id) {
      var old = document.getElementById(id), fresh = next.getElementById(id);
      var s = window.getSelection();
      var marked = s && !s.isCollapsed && s.rangeCount > 0 && s.getRangeAt(0).intersectsNode(old);
      if (fresh && !marked && old.innerHTML !== fresh.innerHTML) old.replaceWith(document.adoptNode(fresh));
    });
  }
  function again() { setTimeout(ask, Math.min(most, every * Math.pow(2, failures))); }
  function ask() {
    if (document.hidden) { again(); return; }
    fetch("/", { headers: { Accept: "text/html" } })
      .then(function (res) { if (!res.ok) throw new Error(res.status); return res.text(); })
      .then(function (html) { failures = 0; swap(html); })
      .catch(function () { failures++; })
      .then(again);
  }
  again();
})();
