package main

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"strconv"

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

// retrieve reads the pages that book does not hold yet. The pages lead to one
// another, so they are read one after the other: with a polite number of
// requests a second, more at a time would not be faster.
func retrieve(ctx context.Context, client *scrape.Client, start *url.URL, book *journal, bar *progress) error {
	path, seen := start.RequestURI(), map[string]bool{}
	for _, p := range book.pages {
		bar.add(p)
		seen[p.Path], path = true, p.Next
	}
	for path != "" {
		if seen[path] || len(seen) == maxPages {
			return fmt.Errorf("page %d leads to %s again, or the site has more than %d pages", len(seen), path, maxPages)
		}
		seen[path] = true
		p, err := fetch(ctx, client, start, path)
		if err != nil {
			return err
		}
		if err := book.append(p); err != nil {
			return err
		}
		bar.add(p)
		path = p.Next
	}
	return nil
}

// fetch reads one page.
func fetch(ctx context.Context, client *scrape.Client, start *url.URL, path string) (page, error) {
	u, err := start.Parse(path)
	if err != nil {
		return page{}, err
	}
	res, err := client.Get(ctx, u.String())
	if err != nil {
		return page{}, err
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		return page{}, fmt.Errorf("%s: the server answered %s", res.Request.URL.Redacted(), res.Status)
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
	if links := d.Links(next); len(links) > 0 {
		u, err := url.Parse(links[0])
		if err != nil {
			return page{}, err
		}
		p.Next = u.RequestURI()
	} else if href, ok := d.Find(next).First().Attr("href"); ok {
		p.Stop = fmt.Sprintf("%s leads on to %.200q, which is no page of %s", path, href, start.Host)
	}
	return p, nil
}
