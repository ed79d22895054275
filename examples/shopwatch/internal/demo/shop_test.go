package demo_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/PuerkitoBio/goquery"
	"github.com/google/go-cmp/cmp"

	"github.com/svcblocks/svcblocks/examples/shopwatch/internal/browser"
	"github.com/svcblocks/svcblocks/examples/shopwatch/internal/demo"
	"github.com/svcblocks/svcblocks/internal/testenv"
)

const step = 12 * time.Second

func prices(at time.Duration) map[string]int64 {
	m := map[string]int64{}
	for _, p := range demo.At(at, step) {
		m[p.Slug] = p.Cents
	}
	return m
}

func TestFirstChangeAndFirstDisappearance(t *testing.T) {
	t.Parallel()
	list := prices(0)
	if n := len(list); n < 30 || n > 60 {
		t.Errorf("%d products with different slugs, want 30 to 60", n)
	}
	if diff := cmp.Diff(list, prices(step-1)); diff != "" {
		t.Errorf("prices moved within the first step (-want +got):\n%s", diff)
	}
	changed := 0
	for slug, cents := range prices(step) {
		if list[slug] != cents {
			changed++
		}
	}
	if changed < 2 || changed > 8 {
		t.Errorf("%d prices changed with the second step, want a few", changed)
	}
	if got := len(prices(step)); got != len(list) {
		t.Errorf("%d products in the second step, want all %d", got, len(list))
	}
	if got := len(prices(2 * step)); got != len(list)-1 {
		t.Errorf("%d products in the third step, want one less than %d", got, len(list))
	}
}

func TestPricesStayNearTheList(t *testing.T) {
	t.Parallel()
	list := prices(0)
	missing := map[string]bool{}
	for k := range 2000 {
		now := prices(time.Duration(k) * step)
		if len(now) < len(list)-1 {
			t.Fatalf("step %d: %d products, want at most one missing", k, len(now))
		}
		for slug, cents := range list {
			got, ok := now[slug]
			if !ok {
				missing[slug] = true
				continue
			}
			if got*100 < cents*81 || got*100 > cents*119 {
				t.Errorf("step %d: %s costs %d, more than 19 %% off %d", k, slug, got, cents)
			}
		}
	}
	if len(missing) < len(list)/2 {
		t.Errorf("only %d products were ever missing", len(missing))
	}
}

func startShop(t *testing.T, opts *demo.ShopOptions) *demo.Shop {
	t.Helper()
	s, err := demo.StartShop(t.Context(), opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Errorf("Close: %v", err)
		}
	})
	return s
}

func get(t *testing.T, address string) (*http.Response, string) {
	t.Helper()
	res, err := client(t).Get(address)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return res, string(body)
}

// TestCrawl follows the links from the first page and finds each product once
// in the catalogue, once in its category and on a page of its own.
func TestCrawl(t *testing.T) {
	t.Parallel()
	shop := startShop(t, &demo.ShopOptions{Step: time.Hour})
	base, err := url.Parse(shop.URL())
	if err != nil {
		t.Fatal(err)
	}
	todo, seen := []string{shop.URL()}, map[string]bool{shop.URL(): true}
	listed, paged := map[string]int{}, map[string]string{}
	for len(todo) > 0 {
		address := todo[0]
		todo = todo[1:]
		res, body := get(t, address)
		if res.StatusCode != http.StatusOK {
			t.Errorf("%s: status %d", address, res.StatusCode)
		}
		if got := res.Header.Get("Content-Type"); strings.HasSuffix(address, ".css") || strings.HasSuffix(address, ".svg") {
			continue
		} else if got != "text/html; charset=utf-8" {
			t.Errorf("%s: content type %q", address, got)
		}
		doc, err := goquery.NewDocumentFromReader(strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		if n := doc.Find("h1").Length(); n != 1 {
			t.Errorf("%s: %d h1 elements, want 1", address, n)
		}
		doc.Find(`[itemtype="https://schema.org/Product"]`).Each(func(_ int, s *goquery.Selection) {
			price := s.Find(`[itemprop="price"]`).AttrOr("content", "")
			href := s.Find(`[itemprop="url"]`).AttrOr("href", "")
			if s.Find(`[itemprop="priceCurrency"]`).AttrOr("content", "") != "EUR" ||
				s.Find(`[itemprop="availability"]`).Length() != 1 || price == "" || href == "" ||
				s.Find(`[itemprop="category"]`).Text() == "" || s.Find(`[itemprop="name"]`).Text() == "" {
				t.Errorf("%s: incomplete product %s", address, href)
			}
			listed[href]++
			if strings.Contains(address, href) {
				paged[href] = price
			}
		})
		doc.Find("a[href], link[href]").Each(func(_ int, s *goquery.Selection) {
			if s.Is(`[itemprop="availability"]`) {
				return // names a term, not a page
			}
			u, err := base.Parse(s.AttrOr("href", ""))
			if err != nil || u.Host != base.Host {
				t.Errorf("%s: link to %v (%v), want one within the shop", address, u, err)
				return
			}
			if !seen[u.String()] {
				seen[u.String()] = true
				todo = append(todo, u.String())
			}
		})
	}
	want, wantPaged := map[string]int{}, map[string]string{}
	for _, p := range demo.At(0, time.Hour) {
		want["/item/"+p.Slug] = 3
		wantPaged["/item/"+p.Slug] = fmt.Sprintf("%d.%02d", p.Cents/100, p.Cents%100)
	}
	if diff := cmp.Diff(want, listed); diff != "" {
		t.Errorf("times each product is shown (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(wantPaged, paged); diff != "" {
		t.Errorf("prices on the products' own pages (-want +got):\n%s", diff)
	}
	if got, want := shop.Requests(), int64(len(seen)); got != want {
		t.Errorf("Requests() = %d, want %d", got, want)
	}
}

func TestShopPages(t *testing.T) {
	t.Parallel()
	shop := startShop(t, &demo.ShopOptions{Step: time.Hour, PerPage: -1})
	for path, tc := range map[string]struct {
		status int
		want   string
	}{
		"robots.txt":              {200, "User-agent: *\nAllow: /\nDisallow: /basket\n"},
		"sitemap.xml":             {200, "<loc>" + shop.URL() + "item/assam-breakfast</loc>"},
		"":                        {200, "1 to 48 of 48"},
		"page/1":                  {200, "1 to 48 of 48"},
		"category/coffee":         {200, "1 to 12 of 12"},
		"page/2":                  {404, "Not found"},
		"page/0":                  {404, "Not found"},
		"page/x":                  {404, "Not found"},
		"page/99999999999999999":  {404, "Not found"},
		"category/<script>":       {404, "Not found"},
		"category/coffee/page/2":  {404, "Not found"},
		"item/none":               {404, "Not found"},
		"nothing/of/the/sort":     {404, ""},
		"item/assam-breakfast":    {200, "Malty and brisk"},
		"basket":                  {200, "The basket is empty"},
		"shop.css":                {200, "color-scheme"},
		"icon.svg":                {200, "<svg"},
		"category/coffee/page/01": {200, "1 to 12 of 12"},
	} {
		t.Run(path, func(t *testing.T) {
			t.Parallel()
			res, body := get(t, shop.URL()+path)
			if res.StatusCode != tc.status || !strings.Contains(body, tc.want) {
				t.Errorf("status %d, want %d with %q in:\n%s", res.StatusCode, tc.status, tc.want, body)
			}
		})
	}
}

func TestShopMovesWithTime(t *testing.T) {
	t.Parallel()
	shop := startShop(t, &demo.ShopOptions{Step: 5 * time.Millisecond, PerPage: -1})
	_, first := get(t, shop.URL())
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	for {
		if _, now := get(t, shop.URL()); now != first {
			return
		}
		if ctx.Err() != nil {
			t.Fatal("no price changed within 10 s")
		}
	}
}

func TestShopDelay(t *testing.T) {
	t.Parallel()
	shop := startShop(t, &demo.ShopOptions{Delay: time.Hour})
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, shop.URL(), nil)
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() {
		res, err := client(t).Do(req)
		if err == nil {
			res.Body.Close()
		}
		done <- err
	}()
	testenv.Eventually(t, func() error {
		if shop.Requests() == 0 {
			return errors.New("no request has arrived")
		}
		return nil
	})
	cancel()
	if err := <-done; err == nil {
		t.Error("the answer came at once")
	}
}

// TestShopInBrowser: a person who follows a link from the status page finds a
// page that can be read on a phone.
func TestShopInBrowser(t *testing.T) {
	t.Parallel()
	b := browser.Start(t)
	shop := startShop(t, &demo.ShopOptions{Step: time.Hour})
	for _, path := range []string{"", "item/assam-breakfast"} {
		for _, v := range []browser.View{browser.Desktop.Dark(), browser.Narrow} {
			tab := b.Open(t, shop.URL()+path, v)
			if diff := cmp.Diff([]string{}, tab.Overflow()); diff != "" {
				t.Errorf("%q %s: beyond the screen (-want +got):\n%s", path, v.Name, diff)
			}
			if diff := cmp.Diff([]string{}, tab.Axe(t)); diff != "" {
				t.Errorf("%q %s: axe-core finds (-want +got):\n%s", path, v.Name, diff)
			}
			if got := tab.Problems(); len(got) > 0 {
				t.Errorf("%q %s: the page complains: %q", path, v.Name, got)
			}
			tab.Close()
		}
	}
}
