package main

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"github.com/svcblocks/svcblocks/examples/internal/extract"
	"github.com/svcblocks/svcblocks/examples/internal/tea"
	"github.com/svcblocks/svcblocks/scrape"
)

// maxPages ends the reading of a site that never does.
const maxPages = 100_000

// page is what one page gave, as the journal keeps it.
type page struct {
	Path     string       `json:"path"`           // of this page, below the site
	Next     string       `json:"next,omitempty"` // of the page after it
	Total    int          `json:"total"`          // lots on the site, as it says
	Estates  []tea.Estate `json:"estates,omitempty"`
	Lots     []tea.Lot    `json:"lots,omitempty"`
	Problems []problem    `json:"problems,omitempty"`
	Stop     string       `json:"stop,omitempty"` // a link to a next page that is not followed, and why
}

// problem is a row that could not be read, and where.
type problem struct {
	URL    string `json:"url"`
	Line   int    `json:"line"`
	Column int    `json:"column"`
	Row    int    `json:"row"`
	Field  string `json:"field"`
	Text   string `json:"text"`
	Error  string `json:"error"`
}

// retrieve reads the pages that book does not hold yet. Crawl follows them, in
// line: with a polite number of requests a second, more at a time would not be
// faster. The journal says where to begin, as it has what the pages gave.
func retrieve(ctx context.Context, client *scrape.Client, start *url.URL, book *journal, bar *progress) error {
	next, seen := start.RequestURI(), map[string]bool{}
	note := func(p page) {
		bar.add(p)
		next, seen[p.Path] = p.Next, true
	}
	for _, p := range book.pages {
		note(p)
	}
	if next == "" {
		return nil
	}

	first, err := start.Parse(next)
	if err != nil {
		return err
	}

	left := &scrape.CrawlOptions{Workers: 1, MaxPages: max(1, maxPages-len(seen))}
	if err := client.Crawl(ctx, []scrape.Request{{URL: first.String()}}, left, func(v *scrape.Visit) error {
		p, err := read(v, next)
		if err != nil {
			return err
		}
		if err := book.append(p); err != nil {
			return err
		}
		note(p)
		if p.Next != "" && !seen[p.Next] {
			v.Add(p.Next)
		}
		return nil
	}); err != nil {
		return err
	}

	if next != "" { // Crawl asks for no page twice
		return fmt.Errorf("page %d leads to %s, which was read already, or the site has more than %d pages", len(seen), next, maxPages)
	}
	return nil
}

// read reads one page.
func read(v *scrape.Visit, path string) (page, error) {
	if v.Err != nil {
		return page{}, v.Err
	}

	res := v.Response
	if res.StatusCode != http.StatusOK {
		return page{}, fmt.Errorf("%s: the server answered %s", res.Request.URL.Redacted(), strings.TrimSpace(res.Status+" "+res.Header.Get("Location")))
	}

	d, err := extract.Open(res.Body, extract.Source{URL: res.Request.URL, ContentType: res.Header.Get("Content-Type")})
	if err != nil {
		return page{}, err
	}

	p := page{Path: path}
	p.Total, _ = strconv.Atoi(d.Find(tea.TotalMark).AttrOr(tea.TotalAttr, "")) // 0 if it does not say

	next := tea.NextPage
	var problems []error
	if d.Find(tea.ListLink).Length() > 0 { // the first page
		next = tea.ListLink
		estates, err := extract.List[tea.Estate](d, tea.EstateList)
		if err != nil {
			return page{}, err
		}
		p.Estates, problems = estates.Items, estates.Problems
	} else {
		lots, err := extract.Table[tea.Lot](d, tea.LotTable)
		if err != nil {
			return page{}, err
		}
		p.Lots, problems = lots.Items, lots.Problems
	}

	for _, e := range problems {
		p.Problems = append(p.Problems, asProblem(e))
	}

	// Links leads to the page's own host alone, so the path says all.
	if links := d.Links(next); v.NoFollow() && len(links) > 0 {
		p.Stop = path + " asks robots not to follow its links"
	} else if len(links) > 0 {
		u, err := url.Parse(links[0])
		if err != nil {
			return page{}, err
		}
		p.Next = u.RequestURI()
	} else if href, ok := d.Find(next).First().Attr("href"); ok {
		p.Stop = fmt.Sprintf("%s leads on to %.200q, which is no page of %s", path, href, res.Request.URL.Host)
	}
	return p, nil
}
