package scrape

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"

	"golang.org/x/net/html"
)

// What an item is if it is no page.
const (
	robotsItem  = 1 // the robots.txt of a site, for the sitemaps that it names
	sitemapItem = 2 // a sitemap, or an index of sitemaps
	indexedItem = 3 // a sitemap that an index named
)

// Bounds on one sitemap, as its protocol has them (sitemaps.org), and on how
// many are read.
const (
	maxSitemapBytes = 50 << 20
	maxSitemapPages = 50_000
	maxSitemaps     = 10_000
)

// sitemapBatch is how many pages of a sitemap are taken in at a time.
const sitemapBatch = 500

// addSitemaps adds the robots.txt of a seed's site, for its sitemaps.
func (k *crawl) addSitemaps(seed *url.URL) error {
	u := &url.URL{Scheme: seed.Scheme, Host: seed.Host, Path: "/robots.txt"}
	return k.addSitemap(u, robotsItem)
}

// addSitemap adds a sitemap that is not known yet.
func (k *crawl) addSitemap(u *url.URL, kind int) error {
	if u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
		return nil
	}
	normal := normalURL(u)
	it := &item{request: Request{URL: normal.String()}, id: idOf(fmt.Sprintf("sitemap %d", min(kind, sitemapItem)), normal, nil), sitemap: kind}

	k.mu.Lock()
	known := k.sitemaps >= maxSitemaps || !k.seen.add(it.id)
	if !known {
		k.sitemaps++
	}
	k.mu.Unlock()
	if known {
		return nil
	}
	return k.take([]*item{it})
}

// visitSitemap reads what an item that is no page leads to. A sitemap that
// cannot be read ends no crawl.
func (k *crawl) visitSitemap(ctx context.Context, it *item) {
	err := k.readSitemap(ctx, it)
	if isParked(err) {
		return
	}
	if err != nil {
		k.client.log.WarnContext(ctx, "sitemap not read, or not to its end", "url", it.request.URL, "error", err)
	}

	if k.stopped(ctx) {
		k.front.done(it)
		return
	}
	if err := k.note(nil, it.id); err != nil {
		k.end(err, nil)
	}
	k.front.done(it)
}

func (k *crawl) readSitemap(ctx context.Context, it *item) error {
	if it.sitemap == robotsItem {
		return k.readRobots(ctx, it)
	}

	res, parked, err := k.fetch(ctx, it)
	if parked {
		return &parkedError{}
	}
	if err != nil {
		return err
	}
	defer drop(res)

	if res.StatusCode == http.StatusNotFound || res.StatusCode == http.StatusGone {
		return nil // most sites have none
	}
	if res.StatusCode != http.StatusOK {
		return fmt.Errorf("status %d", res.StatusCode)
	}

	res.Body = &countedBody{ReadCloser: res.Body, n: &k.bytes}
	r := bufio.NewReader(res.Body)
	if mark, _ := r.Peek(2); bytes.Equal(mark, []byte{0x1f, 0x8b}) { // a .xml.gz is a file, and no coding of one
		unzipped, err := gzip.NewReader(r)
		if err != nil {
			return err
		}
		r = bufio.NewReader(unzipped)
	}
	return k.takeSitemap(it, res.Request.URL, r)
}

// readRobots adds the sitemaps that robots.txt names, else the one that is
// looked for where none is named.
func (k *crawl) readRobots(ctx context.Context, it *item) error {
	req, err := it.next(ctx)
	if err != nil {
		return err
	}

	var named []string
	if !k.client.opts.Robots.Ignore {
		asked := &call{client: k.client, req: req, patience: patience, host: it.queue.host}
		rules, err := k.client.robots.rulesOf(asked)
		if until, parks := k.parks(it, nil, err); parks {
			k.front.park(it, req.URL, until)
			return &parkedError{}
		}
		if err != nil {
			return err
		}
		named = rules.Sitemaps()
	}

	if len(named) == 0 {
		named = []string{"/sitemap.xml"}
	}
	for _, address := range named {
		u, err := resolve(req.URL, address)
		if err != nil {
			continue
		}
		if err := k.addSitemap(u, sitemapItem); err != nil {
			return err
		}
	}
	return nil
}

// takeSitemap takes in the pages of a sitemap as they are read, so that its size
// is no matter, or the sitemaps of an index. The pages count as linked to by a
// seed.
func (k *crawl) takeSitemap(it *item, base *url.URL, r *bufio.Reader) error {
	var found []*item
	pages := 0
	err := eachSitemapEntry(io.LimitReader(r, maxSitemapBytes), func(address string, isSitemap bool) error {
		u, err := resolve(base, address)
		if err != nil {
			return nil
		}
		if isSitemap {
			// One of an index lies beside it, and is no index itself.
			if it.sitemap == sitemapItem && (hostKey(u) == hostKey(base) || k.inHosts(u)) {
				return k.addSitemap(u, indexedItem)
			}
			return nil
		}

		if pages++; pages > maxSitemapPages {
			return fmt.Errorf("it has more than %d pages", maxSitemapPages)
		}
		if page := k.admit(u, Request{URL: address, Depth: 1}, false); page != nil {
			found = append(found, page)
		}

		if len(found) < sitemapBatch {
			return nil
		}
		full := found
		found = nil
		return k.take(full)
	})

	if taken := k.take(found); taken != nil {
		return taken
	}
	return err
}

// eachLine calls take with each address in a sitemap of plain text.
func eachLine(text io.Reader, take func(address string, isSitemap bool) error) error {
	lines := bufio.NewScanner(text)
	for lines.Scan() {
		if line := strings.TrimSpace(lines.Text()); strings.HasPrefix(line, "http") {
			if err := take(line, false); err != nil {
				return err
			}
		}
	}
	return lines.Err()
}

// eachSitemapEntry calls take with each address in a sitemap, or in an index of
// sitemaps: XML, read as leniently as HTML is, or a line each.
func eachSitemapEntry(r io.Reader, take func(address string, isSitemap bool) error) error {
	text := bufio.NewReader(r)
	if mark, _ := text.Peek(3); string(mark) == "\ufeff" {
		_, _ = text.Discard(3) // it was peeked at
	}
	if first, _ := text.Peek(64); !bytes.HasPrefix(bytes.TrimSpace(first), []byte("<")) {
		return eachLine(text, take)
	}

	z := html.NewTokenizer(text)
	z.AllowCDATA(true)
	z.SetMaxBuf(64 << 10)
	inSitemap, inLoc := false, false
	for {
		switch z.Next() {
		case html.ErrorToken:
			if errors.Is(z.Err(), io.EOF) {
				return nil
			}
			return z.Err()
		case html.StartTagToken:
			name, _ := z.TagName()
			inLoc = string(name) == "loc"
			if string(name) == "sitemap" || string(name) == "url" {
				inSitemap = string(name) == "sitemap"
			}
		case html.EndTagToken:
			inLoc = false
		case html.TextToken:
			if address := strings.TrimSpace(string(z.Text())); inLoc && address != "" {
				if err := take(address, inSitemap); err != nil {
					return err
				}
			}
		}
	}
}
