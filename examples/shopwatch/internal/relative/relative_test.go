package relative_test

import (
	"net/http/httptest"
	"net/url"
	"testing"

	"github.com/svcblocks/svcblocks/examples/shopwatch/internal/relative"
)

// Wherever a proxy puts the service, a redirect leads to the same place in it.
func TestRedirect(t *testing.T) {
	t.Parallel()
	for _, prefix := range []string{"", "/watch", "/a/b"} {
		for path, target := range map[string]string{"/": "login", "/scrape": "", "/logout": "login?out", "/login/callback": ""} {
			w := httptest.NewRecorder()
			relative.Redirect(w, httptest.NewRequest("GET", path, nil), target)

			outside, err := url.Parse("https://example.org" + prefix + path)
			if err != nil {
				t.Fatal(err)
			}
			to, err := outside.Parse(w.Header().Get("Location"))
			if want := "https://example.org" + prefix + "/" + target; err != nil || to.String() != want {
				t.Errorf("from %s to %v, %v, want %s", outside, to, err, want)
			}
		}
	}
}
