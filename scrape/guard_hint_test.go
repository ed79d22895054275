package scrape_test

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/svcblocks/svcblocks/scrape"
)

// What a beginner types first is refused with what to do about it.
func TestForbiddenAddressHints(t *testing.T) {
	t.Parallel()
	site := httptest.NewServer(http.NotFoundHandler())
	defer site.Close()
	c, err := scrape.New(t.Context(), &scrape.Options{Egress: scrape.Direct()})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()

	for address, hint := range map[string]string{
		"example.com":        "write https:// in front",
		"http://localhost:1": "Options.Allow makes exceptions",
		site.URL:             "Options.Allow makes exceptions",
	} {
		if _, err := c.Get(t.Context(), address); err == nil || !strings.Contains(err.Error(), hint) {
			t.Errorf("Get(%q) = %v, want it to say %q", address, err, hint)
		}
	}
}
