package useragent_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"

	"github.com/svcblocks/svcblocks/scrape/useragent"
)

func ExamplePool() {
	dir, err := os.MkdirTemp("", "agents")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)
	path := filepath.Join(dir, "user-agents.txt")
	if err := os.WriteFile(path, []byte("# who we are\nshopbot/1.0 (+https://example.com/bot)\n"), 0o600); err != nil {
		log.Fatal(err)
	}
	pool, err := useragent.Load(path)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(pool.GetRandom())
	// Output: shopbot/1.0 (+https://example.com/bot)
}

func ExampleFilter() {
	fmt.Println(useragent.Filter([]string{
		"Mozilla/5.0 (Windows NT 10.0; Win64; x64; rv:156.0) Gecko/20100101 Firefox/156.0",
		"Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)",
		"Mozilla/4.0 (compatible; MSIE 6.0; Windows NT 5.1)",
	}))
	// Output: [Mozilla/5.0 (Windows NT 10.0; Win64; x64; rv:156.0) Gecko/20100101 Firefox/156.0]
}

func ExampleAgent() {
	var a useragent.Agent
	a, ok := useragent.Parse("Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/124.0.0.0 Safari/537.36")
	fmt.Println(ok, a.Family == useragent.Family("chrome"), a.Major, a.Platform)
	fmt.Println(a.Header(true).Get("Sec-CH-UA"))
	// Output:
	// true true 124 Windows
	// "Chromium";v="124", "Google Chrome";v="124", "Not-A.Brand";v="99"
}

func ExampleEntry() {
	entries, err := useragent.Decode([]byte(`[{"userAgent": "a/1", "weight": 3}, {"userAgent": "b/1", "weight": 1}]`))
	for _, e := range []useragent.Entry(entries) {
		fmt.Println(e.Agent, e.Weight)
	}
	fmt.Println(err)
	// Output:
	// a/1 3
	// b/1 1
	// <nil>
}

// A source that has died leaves the pool as it was.
func ExampleUpdater() {
	source := httptest.NewServer(http.NotFoundHandler())
	defer source.Close()
	pool := useragent.Builtin()
	before := pool.Len()
	var u *useragent.Updater = useragent.NewUpdater(pool, source.URL, &useragent.UpdaterOptions{Transport: http.DefaultTransport})
	err := u.Update(context.Background())
	fmt.Println(strings.TrimSpace(err.Error()), pool.Len() == before, errors.Is(err, useragent.ErrRejected))
	http.DefaultTransport.(*http.Transport).CloseIdleConnections()
	// Output: useragent: update: status 404 Not Found true false
}
