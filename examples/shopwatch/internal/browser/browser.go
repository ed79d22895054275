package browser

import (
	"context"
	"fmt"
	"net/url"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/page"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"

	"github.com/svcblocks/svcblocks/internal/testenv"
)

// patience bounds the start of the browser and each action in a tab.
const patience = 60 * time.Second

// View is the screen that a page is shown on.
type View struct {
	Name          string
	Width, Height int64
	Scale         float64 // device pixels per CSS pixel
	Mobile        bool
	Scheme        string // prefers-color-scheme: "light" or "dark"
	NoScript      bool   // JavaScript is switched off
}

// The screens that the tests use, in the light colour scheme.
var (
	Desktop = View{Name: "desktop", Width: 1280, Height: 900, Scale: 1, Scheme: "light"}
	Phone   = View{Name: "phone", Width: 390, Height: 844, Scale: 2, Mobile: true, Scheme: "light"}
	Narrow  = View{Name: "narrow", Width: 320, Height: 568, Scale: 2, Mobile: true, Scheme: "light"}
)

// Dark returns the same screen in the dark colour scheme.
func (v View) Dark() View {
	v.Scheme = "dark"
	return v
}

// Browser is a running Chromium.
type Browser struct{ ctx context.Context }

// Start starts Chromium without a window, with an empty profile, and ends it
// with t. Where there is none it skips t, or fails it under
// SVCBLOCKS_REQUIRE=all. Further flags are name=value.
func Start(t testing.TB, flags ...string) *Browser {
	t.Helper()
	part := testenv.Require(t, "chromium")

	opts := []chromedp.ExecAllocatorOption{
		chromedp.ExecPath(part.Path),
		chromedp.Env(part.Env...),
		chromedp.DisableGPU,
		chromedp.WSURLReadTimeout(patience),
		// Nothing that asks for a network beyond the loopback.
		chromedp.Flag("disable-quic", true),
		chromedp.Flag("disable-component-update", true),
		chromedp.Flag("disable-domain-reliability", true),
		chromedp.Flag("no-pings", true),
		chromedp.Flag("hide-scrollbars", true),
		chromedp.Flag("font-render-hinting", "none"),
	}

	if os.Geteuid() == 0 {
		opts = append(opts, chromedp.NoSandbox) // Chromium refuses root otherwise
	}
	for _, flag := range flags {
		name, value, _ := strings.Cut(flag, "=")
		opts = append(opts, chromedp.Flag(name, value))
	}

	ctx, end := chromedp.NewContext(context.Background(), chromedp.WithAllocatorOptions(opts...))
	t.Cleanup(func() {
		if err := chromedp.Cancel(ctx); err != nil {
			t.Logf("browser: end: %v", err)
		}
		end()
	})

	if err := bounded(func() error { return chromedp.Do(ctx) }); err != nil {
		t.Fatalf("browser: start %s: %v", part.Path, err)
	}
	return &Browser{ctx}
}

// bounded gives up on f after a while: a bound in the context of the first
// action would be one on the browser's life.
func bounded(f func() error) error {
	done := make(chan error, 1)
	go func() { done <- f() }()
	timeout := time.NewTimer(patience)
	defer timeout.Stop()
	select {
	case err := <-done:
		return err
	case <-timeout.C:
		return fmt.Errorf("no answer within %v", patience)
	}
}

// Tab is one page in the browser.
type Tab struct {
	// Close closes the tab; the end of the test does so too.
	Close func()

	t   testing.TB
	ctx context.Context

	mu       sync.Mutex
	problems []string
	requests []string
}

// Open opens address in a tab of its own, waits until it has loaded, and
// closes the tab with t.
func (b *Browser) Open(t testing.TB, address string, v View) *Tab {
	t.Helper()
	tab := &Tab{t: t}
	ctx, end := chromedp.NewContext(b.ctx, chromedp.WithListener(tab.note))
	t.Cleanup(end)
	tab.ctx, tab.Close = ctx, end

	tab.Do(
		call(log.Enable, cdp.Empty{}),
		call(network.Enable, network.EnableParams{}),
		call(emulation.SetDeviceMetricsOverride, emulation.SetDeviceMetricsOverrideParams{
			Width: v.Width, Height: v.Height, DeviceScaleFactor: v.Scale, Mobile: v.Mobile,
		}),
		call(emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{Features: []*emulation.MediaFeature{
			{Name: "prefers-color-scheme", Value: v.Scheme},
			{Name: "prefers-reduced-motion", Value: "reduce"},
		}}),
		call(emulation.SetScriptExecutionDisabled, emulation.SetScriptExecutionDisabledParams{Value: v.NoScript}),
		chromedp.Navigate(address),
	)

	return tab
}

// call makes an action of a command whose result does not matter.
func call[P, R any](cmd cdp.Command[P, R], params P) chromedp.Action[chromedp.Void] {
	return chromedp.Func(func(ctx context.Context, _ *chromedp.Target) error {
		_, err := chromedp.Call(ctx, cmd, params)
		return err
	})
}

// note keeps what the page complains about and what it loads.
func (tab *Tab) note(event any) {
	problem, request := "", ""
	switch e := event.(type) {
	case *runtime.EventConsoleAPICalled:
		if slices.Contains([]string{"error", "warning", "assert"}, e.Type.String()) {
			var parts []string
			for _, a := range e.Args {
				parts = append(parts, strings.TrimSpace(string(a.Value)+" "+a.Description))
			}
			problem = fmt.Sprintf("console.%s: %s", e.Type, strings.Join(parts, " "))
		}
	case *runtime.EventExceptionThrown:
		problem = "exception: " + e.ExceptionDetails.Text
		if x := e.ExceptionDetails.Exception; x != nil {
			problem += " " + x.Description
		}
	case *log.EventEntryAdded:
		if e.Entry.Level == log.EntryLevelError || e.Entry.Level == log.EntryLevelWarning {
			problem = fmt.Sprintf("%s %s: %s %s", e.Entry.Source, e.Entry.Level, e.Entry.Text, e.Entry.URL)
		}
	case *network.EventLoadingFailed:
		if !e.Canceled {
			problem = fmt.Sprintf("loading a %s failed: %s", e.Type, e.ErrorText)
		}
	case *network.EventRequestWillBeSent:
		request = e.Request.URL
	}

	tab.mu.Lock()
	defer tab.mu.Unlock()
	if problem != "" {
		tab.problems = append(tab.problems, problem)
	}
	if request != "" {
		tab.requests = append(tab.requests, request)
	}
}

// Problems returns the errors and warnings of the console, exceptions, and
// loads that failed or were forbidden, so far.
func (tab *Tab) Problems() []string {
	tab.mu.Lock()
	defer tab.mu.Unlock()
	return slices.Clone(tab.problems)
}

// Hosts returns the hosts that the page asked for anything, sorted.
func (tab *Tab) Hosts() []string {
	tab.mu.Lock()
	defer tab.mu.Unlock()
	var hosts []string
	for _, r := range tab.requests {
		u, err := url.Parse(r)
		if err != nil {
			hosts = append(hosts, r)
			continue
		}
		hosts = append(hosts, u.Host)
	}
	slices.Sort(hosts)
	return slices.Compact(hosts)
}

// Do runs actions in the tab; an error fails the test.
func (tab *Tab) Do(actions ...chromedp.Action[chromedp.Void]) {
	tab.t.Helper()
	if err := bounded(func() error { return chromedp.Do(tab.ctx, actions...) }); err != nil {
		tab.t.Fatalf("browser: %v", err)
	}
}

// Eval runs a JavaScript expression in the page, waits for it where it is a
// promise, and returns its value; an error fails the test.
func Eval[T any](tab *Tab, expression string) T {
	tab.t.Helper()
	var out T
	err := bounded(func() (err error) {
		out, err = chromedp.Run(tab.ctx, chromedp.Evaluate[T](expression, chromedp.EvalAwaitPromise))
		return err
	})
	if err != nil {
		tab.t.Fatalf("browser: %v in %.200s", err, expression)
	}
	return out
}

// Until waits until a JavaScript expression is true, for at most timeout, and
// reports whether it became so. The tab may go to another page meanwhile.
func (tab *Tab) Until(expression string, timeout time.Duration) bool {
	tab.t.Helper()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()

	for deadline := time.Now().Add(timeout); ; <-tick.C {
		var yes bool
		err := bounded(func() (err error) {
			yes, err = chromedp.Run(tab.ctx, chromedp.Evaluate[bool]("Boolean("+expression+")", chromedp.EvalAwaitPromise))
			return err
		})
		switch {
		case err == nil && yes:
			return true
		case time.Now().Before(deadline): // on the way to another page, nothing can be evaluated
		case err != nil:
			tab.t.Fatalf("browser: %v in %.200s", err, expression)
		default:
			return false
		}
	}
}

// Overflow names the elements that reach beyond the screen's width, and the
// page where it can be scrolled sideways.
func (tab *Tab) Overflow() []string {
	tab.t.Helper()
	return Eval[[]string](tab, `(() => {
		const width = document.documentElement.clientWidth, found = [];
		const root = document.scrollingElement;
		if (root.scrollWidth > width) found.push("page: " + root.scrollWidth + " > " + width);
		for (const e of document.body.querySelectorAll("*")) {
			const r = e.getBoundingClientRect();
			if (r.width > 1 && (r.right > width + 0.5 || r.left < -0.5) && getComputedStyle(e).clipPath === "none" && !e.closest(".sr, thead"))
				found.push(e.tagName.toLowerCase() + "." + e.getAttribute("class") + " " + Math.round(r.left) + " to " + Math.round(r.right) + ": " + e.textContent.trim().slice(0, 40));
			if (e.scrollWidth > e.clientWidth + 1 && e.clientWidth > 1 && getComputedStyle(e).overflowX !== "visible" && !e.closest(".sr, thead"))
				found.push(e.tagName.toLowerCase() + "." + e.getAttribute("class") + " scrolls sideways: " + e.textContent.trim().slice(0, 40));
		}
		return found;
	})()`)
}

// Press presses the element that a CSS selector finds first, with a mouse, as
// a person does; it works without JavaScript too.
func (tab *Tab) Press(selector string) {
	tab.t.Helper()
	tab.Do(chromedp.Click(chromedp.CSS(selector)))
}

// OpenDetails opens every details element, so that what it hides is seen too.
func (tab *Tab) OpenDetails() {
	tab.t.Helper()
	Eval[int](tab, `document.querySelectorAll("details").forEach(d => { d.open = true }), 0`)
}

// Screenshot returns a PNG of the page from its top, at most height CSS pixels
// high; 0 means the whole page.
func (tab *Tab) Screenshot(height int64) []byte {
	tab.t.Helper()
	var picture []byte

	tab.Do(chromedp.Func(func(ctx context.Context, _ *chromedp.Target) error {
		layout, err := chromedp.Call(ctx, page.GetLayoutMetrics, cdp.Empty{})
		if err != nil {
			return err
		}
		clip := &page.Viewport{Width: layout.CSSContentSize.Width, Height: layout.CSSContentSize.Height, Scale: 1}
		if height > 0 {
			clip.Height = min(clip.Height, float64(height))
		}
		beyond := true
		shot, err := chromedp.Call(ctx, page.CaptureScreenshot, page.CaptureScreenshotParams{Clip: clip, CaptureBeyondViewport: &beyond})
		picture = shot.Data
		return err
	}))

	return picture
}
