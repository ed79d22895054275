package web_test

import (
	"context"
	"flag"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/svcblocks/svcblocks/examples/shopwatch/internal/browser"
	"github.com/svcblocks/svcblocks/examples/shopwatch/internal/web"
)

var pictures = flag.String("pictures", "", "folder to write a picture of each view to")

// maxHeight is what a phone's reader scrolls through at most, with everything
// closed.
const maxHeight = 4000

// serve answers as the service does: the page, and the form's target.
func serve(t *testing.T, page func(context.Context) web.Page) string {
	t.Helper()
	mux := http.NewServeMux()
	mux.Handle("/", web.NewHandler(page, nil))
	mux.HandleFunc("POST /scrape", func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, "/", http.StatusSeeOther)
	})
	s := httptest.NewServer(mux)
	t.Cleanup(s.Close)
	return s.URL
}

// TestViews shows the page on each screen in light and dark, with everything
// closed and opened: nothing reaches beyond the screen, the console stays
// quiet, and axe-core finds nothing serious.
func TestViews(t *testing.T) {
	t.Parallel()
	b := browser.Start(t)
	for _, tc := range []struct {
		name  string
		page  web.Page
		views []browser.View
	}{
		{"sample", sample(), []browser.View{browser.Desktop, browser.Desktop.Dark(), browser.Phone, browser.Phone.Dark(), browser.Narrow}},
		{"troubled", troubled(), []browser.View{browser.Desktop, browser.Desktop.Dark(), browser.Narrow, browser.Narrow.Dark()}},
		{"empty", web.Page{Now: sampleNow}, []browser.View{browser.Phone}},
	} {
		address := serve(t, func(context.Context) web.Page { return tc.page })
		for _, v := range tc.views {
			t.Run(tc.name+"-"+v.Name+"-"+v.Scheme, func(t *testing.T) {
				tab := b.Open(t, address, v)
				defer tab.Close()
				picture(t, tab, tc.name+"-"+v.Name+"-"+v.Scheme)
				if diff := cmp.Diff([]string{}, tab.Overflow()); diff != "" {
					t.Errorf("beyond the screen (-want +got):\n%s", diff)
				}
				if height := browser.Eval[float64](tab, `document.documentElement.scrollHeight`); v.Name == browser.Phone.Name && height > maxHeight {
					t.Errorf("the page is %.0f pixels high, want at most %d", height, maxHeight)
				}
				tab.OpenDetails()
				picture(t, tab, tc.name+"-"+v.Name+"-"+v.Scheme+"-open")
				if diff := cmp.Diff([]string{}, tab.Overflow()); diff != "" {
					t.Errorf("beyond the screen with all details open (-want +got):\n%s", diff)
				}
				if diff := cmp.Diff([]string{}, tab.Axe(t)); diff != "" {
					t.Errorf("axe-core finds (-want +got):\n%s", diff)
				}
				if got := tab.Problems(); len(got) > 0 {
					t.Errorf("the page complains: %q", got)
				}
			})
		}
	}
}

// picture writes a picture of the whole page with -pictures.
func picture(t *testing.T, tab *browser.Tab, name string) {
	t.Helper()
	if *pictures == "" {
		return
	}
	small, err := browser.Shrink(tab.Screenshot(0))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(*pictures, name+".png"), small, 0o644); err != nil {
		t.Fatal(err)
	}
}
