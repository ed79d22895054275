package browser_test

import (
	"bytes"
	"fmt"
	"image"
	"image/color"
	"image/png"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/svcblocks/svcblocks/examples/shopwatch/internal/browser"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// serve answers every path with a page, but for /missing.
func serve(t *testing.T, policy, body string) string {
	t.Helper()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/missing.png" {
			http.NotFound(w, r)
			return
		}
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		if policy != "" {
			w.Header().Set("Content-Security-Policy", policy)
		}
		fmt.Fprintf(w, `<!doctype html><html lang="en"><head><title>x</title><link rel="icon" href="data:,"><meta name="viewport" content="width=device-width, initial-scale=1"></head><body><main><h1>x</h1>%s</main></body></html>`, body)
	}))
	t.Cleanup(s.Close)
	return s.URL
}

// TestFindsFaults: each check sees the fault that it is there for, and nothing
// on a sound page.
func TestFindsFaults(t *testing.T) {
	b := browser.Start(t)
	problems := func(tab *browser.Tab) []string { return tab.Problems() }
	overflow := func(tab *browser.Tab) []string { return tab.Overflow() }
	for name, tc := range map[string]struct {
		policy, body string
		check        func(*browser.Tab) []string
		want         string // in a finding
	}{
		"console error":      {"", `<script>console.error("oh", {})</script>`, problems, `console.error: "oh"`},
		"console warning":    {"", `<script>console.warn("hm")</script>`, problems, `console.warning: "hm"`},
		"exception":          {"", `<script>throw new Error("broken")</script>`, problems, "Error: broken"},
		"late exception":     {"", `<script>Promise.reject(new Error("late"))</script>`, problems, "Error: late"},
		"missing file":       {"", `<img src="/missing.png" alt="">`, problems, "404"},
		"forbidden script":   {"script-src 'self'", `<script>1</script>`, problems, "Content Security Policy"},
		"forbidden style":    {"style-src 'self'", `<p style="color: red">x</p>`, problems, "Content Security Policy"},
		"wide page":          {"", `<div style="width: 500px">x</div>`, overflow, "div.null 8 to 508"},
		"inner scrolling":    {"", `<div style="width: 100px; overflow: auto"><p style="width: 300px">x</p></div>`, overflow, "scrolls sideways"},
		"image without text": {"", `<img src="data:image/gif;base64,R0lGODlhAQABAAAAACw=">`, func(tab *browser.Tab) []string { return tab.Axe(t) }, "image-alt"},
		"weak contrast":      {"", `<p style="color: #aaa; background: #fff">hard to read</p>`, func(tab *browser.Tab) []string { return tab.Axe(t) }, "color-contrast"},
	} {
		t.Run(name, func(t *testing.T) {
			tab := b.Open(t, serve(t, tc.policy, tc.body), browser.Narrow)
			defer tab.Close()
			var got []string
			for deadline := time.Now().Add(5 * time.Second); ; {
				got = tc.check(tab)
				if slices.ContainsFunc(got, func(s string) bool { return strings.Contains(s, tc.want) }) {
					return
				}
				if time.Now().After(deadline) {
					t.Fatalf("found %q, want %q", got, tc.want)
				}
				tab.Until("false", 50*time.Millisecond) // events come a little later
			}
		})
	}
	t.Run("sound page", func(t *testing.T) {
		address := serve(t, "default-src 'none'; img-src data:", "<p>x</p>")
		tab := b.Open(t, address, browser.Narrow.Dark())
		if got := slices.Concat(tab.Problems(), tab.Overflow(), tab.Axe(t)); len(got) > 0 {
			t.Errorf("found %q", got)
		}
		if !browser.Eval[bool](tab, `matchMedia("(prefers-color-scheme: dark)").matches && innerWidth === 320 && devicePixelRatio === 2`) {
			t.Error("the screen is not the one asked for")
		}
		if got := strings.Join(tab.Hosts(), " "); !strings.Contains(address, got) || got == "" {
			t.Errorf("hosts %q, want that of %s", got, address)
		}
	})
}

// TestShrink: few colours come back as they were, many are reduced to 256 that
// are near, and the same picture gives the same bytes.
func TestShrink(t *testing.T) {
	t.Parallel()
	encode := func(c func(x, y int) color.RGBA) []byte {
		img := image.NewRGBA(image.Rect(0, 0, 64, 64))
		for y := range 64 {
			for x := range 64 {
				img.SetRGBA(x, y, c(x, y))
			}
		}
		var buf bytes.Buffer
		if err := png.Encode(&buf, img); err != nil {
			t.Fatal(err)
		}
		return buf.Bytes()
	}
	for name, tc := range map[string]struct {
		c    func(x, y int) color.RGBA
		most int // difference per channel
	}{
		"one colour":  {func(int, int) color.RGBA { return color.RGBA{1, 2, 3, 255} }, 0},
		"256 colours": {func(x, y int) color.RGBA { return color.RGBA{uint8(x * 4), uint8(y / 16 * 64), 0, 255} }, 0},
		"4096":        {func(x, y int) color.RGBA { return color.RGBA{uint8(x * 4), uint8(y * 4), 77, 255} }, 16},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			small, err := browser.Shrink(encode(tc.c))
			if err != nil {
				t.Fatal(err)
			}
			again, err := browser.Shrink(encode(tc.c))
			if err != nil || !bytes.Equal(small, again) {
				t.Errorf("the second time the bytes differ (%v)", err)
			}
			img, err := png.Decode(bytes.NewReader(small))
			if err != nil {
				t.Fatal(err)
			}
			if p, ok := img.ColorModel().(color.Palette); !ok || len(p) > 256 {
				t.Errorf("not a palette of at most 256 colours: %T", img.ColorModel())
			}
			for y := range 64 {
				for x := range 64 {
					got, want := color.RGBAModel.Convert(img.At(x, y)).(color.RGBA), tc.c(x, y)
					for _, d := range []int{int(got.R) - int(want.R), int(got.G) - int(want.G), int(got.B) - int(want.B)} {
						if d > tc.most || -d > tc.most {
							t.Fatalf("at %d,%d %v, want %v", x, y, got, want)
						}
					}
				}
			}
		})
	}
	if _, err := browser.Shrink([]byte("no picture")); err == nil {
		t.Error("Shrink of no picture succeeded")
	}
}
