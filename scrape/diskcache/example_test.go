package diskcache_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"

	"github.com/svcblocks/svcblocks/scrape"
	"github.com/svcblocks/svcblocks/scrape/diskcache"
)

func ExampleCache() {
	site := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("ETag", `"edition 7"`)
		if r.Header.Get("If-None-Match") == `"edition 7"` {
			w.WriteHeader(http.StatusNotModified)
			return
		}
		fmt.Fprint(w, "a long page")
	}))
	defer site.Close()
	dir, err := os.MkdirTemp("", "pages-")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer func() { _ = os.RemoveAll(dir) }()

	ctx := context.Background()
	cache, err := diskcache.Open(ctx, dir, nil)
	if err != nil {
		fmt.Println(err)
		return
	}
	c, err := scrape.New(ctx, &scrape.Options{
		Egress: scrape.Direct(), Cache: cache,
		Allow: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}, Robots: scrape.Robots{Ignore: true},
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer func() { _ = c.Close() }()
	for range 2 {
		res, err := c.Get(ctx, site.URL)
		if err != nil {
			fmt.Println(err)
			return
		}
		text, err := io.ReadAll(res.Body)
		_ = res.Body.Close()
		fmt.Println(res.StatusCode, string(text), err)
	}
	s := c.Stats()
	fmt.Printf("%d pages, %d of them confirmed by the site, %d bytes sent by it\n", s.Pages, s.Revalidated, s.WireBytes)
	// Output:
	// 200 a long page <nil>
	// 200 a long page <nil>
	// 2 pages, 1 of them confirmed by the site, 11 bytes sent by it
}

func ExampleOptions() {
	dir, err := os.MkdirTemp("", "pages-")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer func() { _ = os.RemoveAll(dir) }()
	// By date alone: an ETag can be made for one visitor.
	_, err = diskcache.Open(context.Background(), dir, &diskcache.Options{MaxBytes: 1 << 30, DisableETag: true})
	fmt.Println(err)
	// Output: <nil>
}
