package scrape_test

import (
	"bufio"
	"context"
	"fmt"
	"log"
	"net/http"
	"net/http/httptest"

	"github.com/svcblocks/svcblocks/scrape"
)

// A crawl follows what its function adds, each page once, and ends by itself.
func ExampleClient_Crawl() {
	site := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/":
			fmt.Fprint(w, "/tea\n/coffee\n/private/x\nhttp://elsewhere.example.com/\n")
		case "/tea", "/coffee":
			fmt.Fprint(w, "/\n/milk\n")
		case "/robots.txt":
			fmt.Fprint(w, "User-agent: *\nDisallow: /private/\n")
		}
	}))
	defer site.Close()
	c, err := scrape.New(context.Background(), &scrape.Options{Egress: scrape.Direct(), Allow: allowLocal, HostLimit: scrape.HostLimit{PerSecond: -1}})
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close()

	var last scrape.Progress
	opts := &scrape.CrawlOptions{OnProgress: func(p scrape.Progress) { last = p }}
	err = c.Crawl(context.Background(), []scrape.Request{{URL: site.URL}}, opts, func(v *scrape.Visit) error {
		if v.Err != nil {
			return scrape.ErrSkip // here: robots.txt forbids it
		}
		lines := bufio.NewScanner(v.Response.Body) // links are lines here; goquery finds those of HTML
		for lines.Scan() {
			v.Add(lines.Text())
		}
		return lines.Err()
	})
	fmt.Println(last.Done, last.Skipped, err)
	// Output: 5 1 <nil>
}
