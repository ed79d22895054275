package scrape_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gocolly/colly/v2"
	"github.com/google/go-cmp/cmp"

	"github.com/svcblocks/svcblocks/internal/bench"
	"github.com/svcblocks/svcblocks/scrape"
)

// agent is the user agent that all clients name.
type agent string

func (a agent) GetRandom() string { return string(a) }

const chrome agent = "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/154.0.0.0 Safari/537.36"

// job is what each client does: fetch pages 0 to pages-1 with so many
// requests at a time, and read them to the end.
type job struct {
	urls           string // without the page's number
	pages, workers int
	header         http.Header // to send; ours makes it itself
}

func (j job) url(n int) string { return j.urls + strconv.Itoa(n) }

// spent is what a crawl took in a process of its own, without its start.
type spent struct{ time, cpu time.Duration }

// crawler does a job; what is not a whole page is an error.
type crawler struct {
	name string
	run  func(ctx context.Context, j job) (spent, error)
}

var crawlers = []crawler{
	{"ours", runOurs},
	{"net-http", runNetHTTP},
	{"colly", runColly},
}

// read reads a page to its end.
func read(res *http.Response) error {
	n, err := io.Copy(io.Discard, res.Body)
	if err != nil {
		return err
	}
	if res.StatusCode != http.StatusOK || n != pageBytes {
		return fmt.Errorf("status %d, %d bytes", res.StatusCode, n)
	}
	return nil
}

func runOurs(ctx context.Context, j job) (spent, error) {
	c, err := scrape.New(ctx, &scrape.Options{
		Egress:     scrape.Direct(),
		Allow:      []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")},
		Rotation:   scrape.Rotation{Every: -1, MaxAge: -1},
		UserAgents: chrome,
		Retry:      scrape.Retry{Attempts: -1},
		HostLimit:  scrape.HostLimit{PerSecond: -1, InFlight: -1},
		Robots:     scrape.Robots{Ignore: true},
	})
	if err != nil {
		return spent{}, err
	}
	urls := func(yield func(string) bool) {
		for n := range j.pages {
			if !yield(j.url(n)) {
				return
			}
		}
	}
	err = c.Each(ctx, urls, j.workers, func(_ string, res *http.Response, err error) error {
		if err != nil {
			return err
		}
		return read(res)
	})
	return spent{}, errors.Join(err, c.Close())
}

// runNetHTTP is what one writes by hand for the same pages and headers.
func runNetHTTP(ctx context.Context, j job) (spent, error) {
	transport := &http.Transport{MaxIdleConnsPerHost: j.workers, DisableCompression: true}
	defer transport.CloseIdleConnections()
	client := &http.Client{Transport: transport, Timeout: time.Minute}
	urls := make(chan string)
	errs := make([]error, j.workers)
	var wg sync.WaitGroup
	for i := range j.workers {
		wg.Go(func() {
			for url := range urls {
				errs[i] = errors.Join(errs[i], func() error {
					req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
					if err != nil {
						return err
					}
					maps.Copy(req.Header, j.header)
					res, err := client.Do(req)
					if err != nil {
						return err
					}
					defer res.Body.Close()
					return read(res)
				}())
			}
		})
	}
	for n := range j.pages {
		urls <- j.url(n)
	}
	close(urls)
	wg.Wait()
	return spent{}, errors.Join(errs...)
}

func runColly(ctx context.Context, j job) (spent, error) {
	transport := &http.Transport{MaxIdleConnsPerHost: j.workers, DisableCompression: true}
	defer transport.CloseIdleConnections()
	c := colly.NewCollector(colly.Async(true), colly.AllowURLRevisit(), colly.StdlibContext(ctx))
	c.WithTransport(transport)
	if err := c.Limit(&colly.LimitRule{DomainGlob: "*", Parallelism: j.workers}); err != nil {
		return spent{}, err
	}
	c.OnRequest(func(r *colly.Request) {
		maps.Copy((*r.Headers), j.header)
	})
	var whole atomic.Int64
	c.OnResponse(func(r *colly.Response) {
		if len(r.Body) == pageBytes {
			whole.Add(1)
		}
	})
	for n := range j.pages {
		if err := c.Visit(j.url(n)); err != nil {
			return spent{}, err
		}
	}
	c.Wait()
	if n := int(whole.Load()); n != j.pages {
		return spent{}, fmt.Errorf("%d whole pages of %d", n, j.pages)
	}
	return spent{}, nil
}

// spider is the Scrapy program; its arguments are the pages' address, the
// number of pages and of requests at a time, and the header as JSON.
const spider = `
import json, sys, time
import scrapy
from scrapy.crawler import CrawlerProcess

url, pages, workers, header = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), json.loads(sys.argv[4])

class Pages(scrapy.Spider):
    name = "pages"
    whole = 0
    def start_requests(self):
        self.began, self.cpu = time.monotonic(), time.process_time()
        for n in range(pages):
            yield scrapy.Request(f"{url}{n}", dont_filter=True)
    def parse(self, response):
        if response.status == 200 and len(response.body) == 10240:
            self.whole += 1
    def closed(self, reason):
        print(self.whole, time.monotonic() - self.began, time.process_time() - self.cpu)

process = CrawlerProcess({
    "CONCURRENT_REQUESTS": workers, "CONCURRENT_REQUESTS_PER_DOMAIN": workers, "ROBOTSTXT_OBEY": False,
    "COOKIES_ENABLED": False, "LOG_LEVEL": "ERROR", "TELNETCONSOLE_ENABLED": False, "RETRY_ENABLED": False,
    "DEFAULT_REQUEST_HEADERS": header, "USER_AGENT": header["User-Agent"],
    "REQUEST_FINGERPRINTER_IMPLEMENTATION": "2.7",
})
process.crawl(Pages)
process.start()
`

// newScrapy returns a crawler that runs Debian's Scrapy, or nil where it is
// not installed.
func newScrapy(t testing.TB) *crawler {
	t.Helper()
	python, err := exec.LookPath("python3")
	if err == nil {
		err = exec.Command(python, "-c", "import scrapy.crawler").Run()
	}
	if err != nil {
		t.Log("without Scrapy, which is not here: apt install python3-scrapy")
		return nil
	}
	program := filepath.Join(t.TempDir(), "spider.py")
	if err := os.WriteFile(program, []byte(spider), 0o600); err != nil {
		t.Fatal(err)
	}
	return &crawler{"scrapy", func(ctx context.Context, j job) (spent, error) {
		var header []string
		for k, v := range j.header {
			header = append(header, fmt.Sprintf("%q: %q", k, v[0]))
		}
		cmd := exec.CommandContext(ctx, python, program, j.urls, strconv.Itoa(j.pages), strconv.Itoa(j.workers),
			"{"+strings.Join(header, ", ")+"}")
		cmd.Stderr = os.Stderr
		out, err := cmd.Output()
		if err != nil {
			return spent{}, err
		}
		var whole int
		var seconds, cpu float64
		if _, err := fmt.Sscan(string(out), &whole, &seconds, &cpu); err != nil {
			return spent{}, fmt.Errorf("the spider printed %q: %w", out, err)
		}
		if whole != j.pages {
			return spent{}, fmt.Errorf("%d whole pages of %d", whole, j.pages)
		}
		return spent{time: time.Duration(seconds * 1e9), cpu: time.Duration(cpu * 1e9)}, nil
	}}
}

// headerOfOurs returns the header that ours sends.
func headerOfOurs(t testing.TB, s *site) http.Header {
	t.Helper()
	if _, err := runOurs(t.Context(), job{urls: s.url + "/noted/", pages: 1, workers: 1}); err != nil {
		t.Fatal(err)
	}
	return s.seen(t).header(t)
}

// checkCrawl runs a small job and reports whether the site saw each page once
// and the same header from each crawler.
func checkCrawl(t testing.TB, c crawler, s *site, header http.Header) {
	t.Helper()
	const pages = 200
	if _, err := c.run(t.Context(), job{urls: s.url + "/noted/", pages: pages, workers: 8, header: header}); err != nil {
		t.Fatalf("%s: %v", c.name, err)
	}
	got := s.seen(t)
	if diff := cmp.Diff(header, got.header(t)); diff != "" {
		t.Errorf("%s: header (-want +got):\n%s", c.name, diff)
	}
	if len(got.Pages) != pages {
		t.Errorf("%s: the site saw %d different pages, want %d", c.name, len(got.Pages), pages)
	}
	for page, n := range got.Pages {
		if n != 1 {
			t.Errorf("%s: page %s was fetched %d times", c.name, page, n)
		}
	}
}

func TestCrawlersAgree(t *testing.T) {
	t.Parallel()
	s := startSite(t)
	header := headerOfOurs(t, s)
	if header.Get("User-Agent") != string(chrome) || header.Get("Sec-Ch-Ua") == "" {
		t.Errorf("header %v is not that of the agent", header)
	}
	for _, c := range crawlers {
		checkCrawl(t, c, s, header)
	}
	if c := newScrapy(t); c != nil {
		checkCrawl(t, *c, s, header)
	}
}

func BenchmarkPages(b *testing.B) {
	s := startSite(b)
	header := headerOfOurs(b, s)
	all := crawlers
	if c := newScrapy(b); c != nil {
		all = append(all[:len(all):len(all)], *c)
	}
	for _, workers := range []int{32, 64} {
		b.Run(fmt.Sprintf("workers=%d", workers), func(b *testing.B) {
			var impls []bench.Impl
			for _, c := range all {
				checkCrawl(b, c, s, header)
				pages := 10_000
				if c.name == "scrapy" {
					pages = 1_000
				}
				impls = append(impls, bench.Impl{Name: c.name, Run: func(b *testing.B) {
					ops := 0
					var child spent
					began := bench.ProcessCPU(b)
					for b.Loop() {
						took, err := c.run(b.Context(), job{urls: s.url + "/page/", pages: pages, workers: workers, header: header})
						if err != nil {
							b.Fatal(err)
						}
						child.time += took.time
						child.cpu += took.cpu
						ops++
					}
					took := spent{time: b.Elapsed(), cpu: bench.ProcessCPU(b) - began}
					if child != (spent{}) {
						took = child
					}
					b.ReportMetric(float64(pages*ops)/took.time.Seconds(), "pages/s")
					b.ReportMetric(float64(took.cpu.Nanoseconds())/float64(pages*ops), "cpu-ns/page")
					b.ReportMetric(0, "ns/op")
				}})
			}
			bench.Compare(b, impls...)
		})
	}
}
