package web_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"
	"time"

	"github.com/svcblocks/svcblocks/examples/shopwatch/internal/browser"
	"github.com/svcblocks/svcblocks/examples/shopwatch/internal/web"
	"github.com/svcblocks/svcblocks/internal/testenv"
)

// TestRefresh: with JavaScript the page follows the service by itself, and the
// reader keeps what he opened, where he is, and what he is about to press.
func TestRefresh(t *testing.T) {
	t.Parallel()
	b := browser.Start(t)
	var asked, posted atomic.Int64
	var broken atomic.Bool
	page := web.NewHandler(func(context.Context) web.Page {
		p := sample()
		n := asked.Add(1)
		p.Now = p.Now.Add(time.Duration(n) * time.Second)
		p.Log.Written = n
		if n > 3 { // the last run ends
			p.Runs[0].State, p.Runs[0].Finished = web.RunDone, p.Now
		}
		return p
	}, nil)
	mux := http.NewServeMux()
	mux.HandleFunc("GET /", func(w http.ResponseWriter, r *http.Request) {
		if broken.Load() {
			http.Error(w, "down", http.StatusBadGateway)
			return
		}
		page.ServeHTTP(w, r)
	})
	mux.HandleFunc("POST /scrape", func(w http.ResponseWriter, r *http.Request) {
		posted.Add(1)
		http.Redirect(w, r, "/", http.StatusSeeOther)
	})
	s := httptest.NewServer(mux)
	defer s.Close()
	tab := b.Open(t, s.URL, browser.Phone)
	written := func(n int) string {
		return fmt.Sprintf(`+document.querySelector("#log .numbers dd").textContent >= %d`, n)
	}
	eventually := func(what, js string) {
		t.Helper()
		if !tab.Until(js, 20*time.Second) {
			t.Errorf("not within 20 s: %s", what)
		}
	}
	// Opens one message and a listing, scrolls and focuses, then waits for
	// two refreshes.
	browser.Eval[bool](tab, `(() => {
		document.querySelector("#all-items").open = true;
		document.querySelector("#last-lines").open = true;
		document.querySelectorAll(".caught details")[1].open = true;
		window.scrollTo({top: 700, behavior: "instant"});
		document.querySelectorAll("#items .plotcard a")[1].focus({preventScroll: true});
		window.focused = document.activeElement.href;
		return true;
	})()`)
	eventually("two refreshes", written(3))
	for what, js := range map[string]string{
		"the listing stays open":      `document.querySelector("#all-items").open`,
		"the log lines stay open":     `document.querySelector("#last-lines").open`,
		"the message stays open":      `document.querySelectorAll(".caught details")[1].open`,
		"the first one stays closed":  `!document.querySelectorAll(".caught details")[0].open`,
		"the focus stays":             `document.activeElement.href === window.focused`,
		"the focus is in the page":    `document.body.contains(document.activeElement) && document.activeElement !== document.body`,
		"the scroll position is kept": `Math.abs(window.scrollY - 700) < 2`,
	} {
		if !browser.Eval[bool](tab, js) {
			t.Errorf("after a refresh not true: %s", what)
		}
	}
	eventually("the end of the run", `document.querySelector("#runs").dataset.busy === "false"`)

	// Nothing is asked for while the page is hidden, and at once after.
	browser.Eval[bool](tab, `(() => {
		Object.defineProperty(document, "hidden", {value: true, configurable: true});
		document.dispatchEvent(new Event("visibilitychange"));
		return true;
	})()`)
	tab.Until("false", 500*time.Millisecond) // what was under way arrives
	hidden := asked.Load()
	if tab.Until(written(int(hidden)+1), 6*time.Second) {
		t.Error("the page is asked for while it is hidden")
	}
	browser.Eval[bool](tab, `(() => {
		Object.defineProperty(document, "hidden", {value: false, configurable: true});
		document.dispatchEvent(new Event("visibilitychange"));
		return true;
	})()`)
	eventually("a refresh once it is seen again", written(int(hidden)+1))

	// The button asks for a run without leaving the page.
	browser.Eval[bool](tab, `(() => { window.same = true; document.querySelector("#scrape button").click(); return true; })()`)
	eventually("the post", `document.querySelector("#live-state").textContent.includes("asked for") || document.querySelector("#scrape button").disabled === false`)
	testenv.Eventually(t, func() error {
		if posted.Load() == 0 {
			return errors.New("nothing was posted")
		}
		return nil
	})
	if posted.Load() != 1 || !browser.Eval[bool](tab, `window.same === true`) {
		t.Errorf("%d posts, want 1 on the same page", posted.Load())
	}
	if got := tab.Problems(); len(got) > 0 {
		t.Errorf("the page complains: %q", got)
	}

	// A service that is down is said, and forgotten once it is back.
	broken.Store(true)
	eventually("a word on the outage", `document.querySelector("#live-state").textContent.includes("does not answer")`)
	broken.Store(false)
	eventually("its end", `document.querySelector("#live-state").textContent === ""`)
}

// TestWithoutScript: the page shows all there is, and the button is a form.
func TestWithoutScript(t *testing.T) {
	t.Parallel()
	b := browser.Start(t)
	var posted atomic.Int64
	mux := http.NewServeMux()
	mux.Handle("/", web.NewHandler(func(context.Context) web.Page { return sample() }, nil))
	mux.HandleFunc("POST /scrape", func(w http.ResponseWriter, r *http.Request) {
		posted.Add(1)
		http.Redirect(w, r, "/#runs", http.StatusSeeOther)
	})
	s := httptest.NewServer(mux)
	defer s.Close()
	v := browser.Phone
	v.NoScript = true
	tab := b.Open(t, s.URL, v)
	tab.Press("#scrape button")
	testenv.Eventually(t, func() error {
		if posted.Load() == 0 {
			return errors.New("nothing was posted")
		}
		return nil
	})
	if posted.Load() != 1 {
		t.Errorf("%d posts, want 1", posted.Load())
	}
	if got := tab.Problems(); len(got) > 0 {
		t.Errorf("the page complains: %q", got)
	}
}
