// Live refresh: asks for the page again and swaps the parts that changed.
// Scroll position, focus and what the reader has opened stay as they are.
(function () {
  "use strict";
  var calm = 5000, busy = 1500, most = 30000;
  var state = document.getElementById("live-state");
  var timer = 0, asking = null, failures = 0;

  function say(text) {
    if (state.textContent !== text) state.textContent = text;
  }

  function swap(next) {
    document.title = next.title;
    document.querySelectorAll("[data-live]").forEach(function (old) {
      var fresh = next.getElementById(old.id);
      if (!fresh) return;
      old.querySelectorAll("details[id]").forEach(function (d) {
        var twin = fresh.querySelector("#" + CSS.escape(d.id));
        if (twin) twin.open = d.open;
      });
      if (old.outerHTML === fresh.outerHTML) return;
      if (holdsSelection(old)) return;
      var path = focusPath(old);
      var scrolled = scrolls(old);
      old.replaceWith(document.adoptNode(fresh));
      restoreScrolls(fresh, scrolled);
      if (path) restoreFocus(fresh, path);
    });
  }

  // A part whose text the reader has marked waits for the next round.
  function holdsSelection(part) {
    var s = window.getSelection();
    return s && !s.isCollapsed && s.rangeCount > 0 && s.getRangeAt(0).intersectsNode(part);
  }

  function focusPath(part) {
    var at = document.activeElement;
    if (!at || at === part || !part.contains(at)) return null;
    var owner = at.closest("details[id]");
    var scope = owner && part.contains(owner) ? owner : part;
    return {
      owner: scope === part ? "" : scope.id,
      tag: at.tagName,
      href: at.getAttribute("href"),
      nth: Array.prototype.indexOf.call(scope.querySelectorAll(at.tagName), at)
    };
  }

  function restoreFocus(part, path) {
    var scope = path.owner ? part.querySelector("#" + CSS.escape(path.owner)) : part;
    if (!scope) return;
    var all = Array.prototype.slice.call(scope.querySelectorAll(path.tag));
    var to = path.href && all.find(function (e) { return e.getAttribute("href") === path.href; });
    to = to || all[path.nth];
    if (to) to.focus({ preventScroll: true });
  }

  function scrolls(part) {
    return Array.prototype.map.call(part.querySelectorAll("details[id] pre, details[id] ol"), function (e) {
      return { id: e.closest("details").id, tag: e.tagName, top: e.scrollTop, left: e.scrollLeft };
    }).filter(function (s) { return s.top || s.left; });
  }

  function restoreScrolls(part, list) {
    list.forEach(function (s) {
      var e = part.querySelector("#" + CSS.escape(s.id) + " " + s.tag);
      if (e) { e.scrollTop = s.top; e.scrollLeft = s.left; }
    });
  }

  function plan() {
    clearTimeout(timer);
    if (document.hidden) return;
    var runs = document.getElementById("runs");
    var wait = runs && runs.dataset.busy === "true" ? busy : calm;
    timer = setTimeout(refresh, failures ? Math.min(most, calm * Math.pow(2, failures - 1)) : wait);
  }

  function refresh() {
    clearTimeout(timer);
    if (asking) asking.abort();
    var mine = asking = new AbortController();
    var limit = setTimeout(function () { mine.abort(); }, 10000);
    fetch("./", { signal: mine.signal, headers: { Accept: "text/html" } })
      .then(function (res) {
        // Sent to the sign-in page: the session has ended.
        if (res.redirected) { location.reload(); return ""; }
        if (!res.ok) throw new Error("status " + res.status);
        return res.text();
      })
      .then(function (text) {
        if (text) swap(new DOMParser().parseFromString(text, "text/html"));
        failures = 0;
        say("");
      })
      .catch(function () {
        if (asking !== mine) return;
        failures++;
        say("The service does not answer; what you see may be out of date.");
      })
      .finally(function () {
        clearTimeout(limit);
        if (asking === mine) { asking = null; plan(); }
      });
  }

  document.addEventListener("visibilitychange", function () {
    if (document.hidden) clearTimeout(timer); else refresh();
  });

  var form = document.getElementById("scrape");
  form.addEventListener("submit", function (event) {
    event.preventDefault();
    var button = form.querySelector("button");
    button.disabled = true;
    fetch(form.action, { method: "POST", headers: { Accept: "text/html" } })
      .then(function (res) {
        if (!res.ok) throw new Error("status " + res.status);
        if (new URL(res.url).pathname !== new URL("./", location.href).pathname) { location.reload(); return; }
        say("A run was asked for.");
        refresh();
      })
      .catch(function (err) { say("The run could not be asked for: " + err.message); })
      .finally(function () { button.disabled = false; });
  });

  plan();
})();
