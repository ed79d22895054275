package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"github.com/svcblocks/svcblocks/examples/internal/rows"
	"github.com/svcblocks/svcblocks/examples/internal/tea"
	"github.com/svcblocks/svcblocks/internal/testenv"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// start serves h until the test ends.
func start(t testing.TB, h http.Handler) string {
	t.Helper()
	srv := httptest.NewServer(h)
	t.Cleanup(srv.Close)
	return srv.URL + "/"
}

func retrieved(t testing.TB, dir string) (lots []tea.Lot, estates []tea.Estate, problems []problem) {
	t.Helper()
	for _, ending := range []string{".jsonl", ".csv"} { // both say the same
		l, err1 := rows.ReadFile[tea.Lot](filepath.Join(dir, "lots"+ending))
		e, err2 := rows.ReadFile[tea.Estate](filepath.Join(dir, "estates"+ending))
		p, err3 := rows.ReadFile[problem](filepath.Join(dir, "problems"+ending))
		if err := errors.Join(err1, err2, err3); err != nil {
			t.Fatal(err)
		}
		if ending == ".csv" {
			if diff := cmp.Diff([]any{lots, estates, problems}, []any{l, e, p}); diff != "" {
				t.Errorf("CSV and JSON Lines differ (-jsonl +csv):\n%s", diff)
			}
		}
		lots, estates, problems = l, e, p
	}
	return lots, estates, problems
}

// files lists what is in dir, hidden files too.
func files(t *testing.T, dir string) string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return strings.Join(names, " ")
}

const whole = "estates.csv estates.jsonl lots.csv lots.jsonl problems.csv problems.jsonl"

// What comes out is what the site lists, no more and no less, whichever way the
// pages are counted.
func TestRetrieve(t *testing.T) {
	t.Parallel()
	for _, n := range []int{0, 1, 50, 51, 620} {
		t.Run(fmt.Sprint(n), func(t *testing.T) {
			t.Parallel()
			site := tea.NewSite(3, n)
			address, dir := start(t, site), t.TempDir()
			var stdout, stderr bytes.Buffer
			if err := run(t.Context(), []string{"-url", address, "-direct", "-out", dir}, &stdout, &stderr); err != nil {
				t.Fatalf("%v\n%s", err, stderr.String())
			}
			base, err := url.Parse(address)
			if err != nil {
				t.Fatal(err)
			}
			want, unreadable := site.Lots(base)
			lots, estates, problems := retrieved(t, dir)
			if diff := cmp.Diff(want, lots); diff != "" {
				t.Errorf("lots (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(site.Estates(), estates); diff != "" {
				t.Errorf("estates (-want +got):\n%s", diff)
			}
			if len(problems) != unreadable {
				t.Errorf("%d problems, want %d", len(problems), unreadable)
			}
			for _, p := range problems {
				if p.Line == 0 || p.Column == 0 || p.Row == 0 || p.Field != "Weight" || p.Text == "" || !strings.HasPrefix(p.URL, address+"lots") {
					t.Errorf("a problem without a place: %+v", p)
				}
			}
			if got := files(t, dir); got != whole {
				t.Errorf("files %s", got)
			}
			if strings.Contains(stdout.String(), "\r") || !strings.HasPrefix(stdout.String(), fmt.Sprintf("%d lots and 16 estates", len(lots))) {
				t.Errorf("a bar without a terminal, or no summary: %q", stdout.String())
			}
		})
	}
}

// The site of its own is asked for when no address is given.
func TestRetrieveOwnSite(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if err := run(t.Context(), []string{"-lots", "120", "-out", dir}, io.Discard, io.Discard); err != nil {
		t.Fatal(err)
	}
	if lots, _, problems := retrieved(t, dir); len(lots)+len(problems) != 120 {
		t.Errorf("%d lots", len(lots))
	}
}

// stopping cancels a run when the site is asked for the n-th page of the table.
type stopping struct {
	http.Handler
	after  atomic.Int64
	asked  atomic.Int64
	cancel context.CancelFunc
}

func (s *stopping) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.URL.Path == "/lots" && s.asked.Add(1) == s.after.Load() {
		s.cancel()
		<-r.Context().Done() // the client has left
		return
	}
	s.Handler.ServeHTTP(w, r)
}

// A run that was stopped, at whatever page, leaves no result, and goes on
// without asking for a page that it has.
func TestStopAndGoOn(t *testing.T) {
	t.Parallel()
	const lots, pages = 400, 8
	site := tea.NewSite(1, lots)
	for stop := range pages {
		t.Run(fmt.Sprint(stop), func(t *testing.T) {
			t.Parallel()
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			s := &stopping{Handler: site, cancel: cancel}
			s.after.Store(int64(stop + 1))
			address, dir := start(t, s), t.TempDir()
			args := []string{"-url", address, "-direct", "-out", dir}
			if err := run(ctx, args, io.Discard, io.Discard); !errors.Is(err, context.Canceled) {
				t.Fatalf("error = %v, want context.Canceled", err)
			}
			if got := files(t, dir); got != journalName {
				t.Errorf("files %s", got)
			}
			if err := run(t.Context(), append(args, "-url", address+"elsewhere"), io.Discard, io.Discard); err == nil || !strings.Contains(err.Error(), "-fresh") {
				t.Errorf("another site goes on with this one's pages: %v", err)
			}
			s.after.Store(-1)
			var stderr bytes.Buffer
			if err := run(t.Context(), args, io.Discard, &stderr); err != nil {
				t.Fatal(err)
			}
			if want := fmt.Sprintf("going on after %d pages", stop+1); !strings.Contains(stderr.String(), want) {
				t.Errorf("stderr %q, want %q", stderr.String(), want)
			}
			base, _ := url.Parse(address)
			want, _ := site.Lots(base)
			got, estates, _ := retrieved(t, dir)
			if diff := cmp.Diff(want, got); diff != "" || len(estates) != 16 || files(t, dir) != whole {
				t.Errorf("%d estates, files %s, lots (-want +got):\n%s", len(estates), files(t, dir), diff)
			}
			if n := s.asked.Load(); n != pages+1 { // one was asked for twice
				t.Errorf("%d requests for %d pages", n, pages)
			}
		})
	}
}

// A process that is killed leaves some prefix of its journal, and of what it
// wrote of the results nothing or all. Whatever it is, the next run's results
// are whole.
func TestGoOnAfterKill(t *testing.T) {
	t.Parallel()
	site := tea.NewSite(1, 200)
	var broken atomic.Bool
	address := start(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if broken.Load() && r.URL.RawQuery == "page=4" {
			http.Error(w, "gone", http.StatusGone)
			return
		}
		site.ServeHTTP(w, r)
	}))
	dir := t.TempDir()
	broken.Store(true)
	args := []string{"-url", address, "-direct", "-out", dir}
	if err := run(t.Context(), args, io.Discard, io.Discard); err == nil || !strings.Contains(err.Error(), "410 Gone") {
		t.Fatalf("error = %v, want the status", err)
	}
	broken.Store(false)
	journal, err := os.ReadFile(filepath.Join(dir, journalName))
	if err != nil {
		t.Fatal(err)
	}
	base, _ := url.Parse(address)
	want, _ := site.Lots(base)
	step := len(journal)/testenv.Reps(200) + 1
	for cut := 0; cut <= len(journal); cut += step {
		// What a crash of the machine leaves behind the last write may be anything.
		torn := append(journal[:cut:cut], bytes.Repeat([]byte{'x'}, 1<<16)...)
		if err := os.WriteFile(filepath.Join(dir, journalName), torn, 0o600); err != nil {
			t.Fatal(err)
		}
		broken.Store(true)
		if err := run(t.Context(), args, io.Discard, io.Discard); err == nil || !strings.Contains(err.Error(), "410 Gone") {
			t.Fatalf("journal cut at %d: %v, want the status", cut, err)
		}
		broken.Store(false)
		if err := run(t.Context(), args, io.Discard, io.Discard); err != nil {
			t.Fatalf("journal cut at %d: %v", cut, err)
		}
		if got, _, _ := retrieved(t, dir); cmp.Diff(want, got) != "" {
			t.Fatalf("journal cut at %d: %d lots, want %d", cut, len(got), len(want))
		}
	}
}

func TestOneRunAtATime(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	j, err := openJournal(dir, "site", false)
	if err != nil {
		t.Fatal(err)
	}
	defer j.Close()
	if err := run(t.Context(), []string{"-out", dir}, io.Discard, io.Discard); err == nil || !strings.Contains(err.Error(), "another retrieve") {
		t.Errorf("error = %v", err)
	}
}

// A link that somebody planted in the journal's place is not followed.
func TestPlantedJournal(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	victim := filepath.Join(dir, "victim")
	testenv.Symlink(t, victim, filepath.Join(dir, journalName))
	if j, err := openJournal(dir, "site", false); err == nil || !strings.Contains(err.Error(), "symbolic link") {
		t.Errorf("openJournal = %v, %v", j, err)
	}
	if _, err := os.Lstat(victim); err == nil {
		t.Error("a file was made where the link leads")
	}
}

// A site whose markup changed does not replace good results with few.
func TestTooManyBadRows(t *testing.T) {
	t.Parallel()
	site, dir := tea.NewSite(1, 120), t.TempDir()
	var changed atomic.Bool
	address := start(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		rec := httptest.NewRecorder()
		site.ServeHTTP(rec, r)
		body := rec.Body.String()
		if changed.Load() {
			body = strings.ReplaceAll(body, " kg<", " lbs<")
		}
		_, _ = io.WriteString(w, body)
	}))
	args := []string{"-url", address, "-direct", "-out", dir}
	if err := run(t.Context(), args, io.Discard, io.Discard); err != nil {
		t.Fatal(err)
	}
	before, _, _ := retrieved(t, dir)
	changed.Store(true)
	if err := run(t.Context(), args, io.Discard, io.Discard); err == nil || !strings.Contains(err.Error(), "-max-bad") {
		t.Errorf("error = %v, want one about -max-bad", err)
	}
	after, _, problems := retrieved(t, dir)
	if len(problems) < 100 || cmp.Diff(before, after) != "" {
		t.Errorf("%d problems, %d lots", len(problems), len(after))
	}
}

// cut serves a site whose table ends early: page 2 has no next page, or one
// elsewhere.
func cut(site http.Handler, next string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		rec := httptest.NewRecorder()
		site.ServeHTTP(rec, r)
		body := rec.Body.String()
		if r.URL.Path == "/lots" && r.URL.Query().Get("page") == "2" {
			body = regexp.MustCompile(`<a[^>]* rel="?next"?[^>]*>[^<]*</a>`).ReplaceAllString(body, next)
		}
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		w.WriteHeader(rec.Code)
		_, _ = io.WriteString(w, body)
	})
}

// A run that read less than there is says so, and the results before it stay.
func TestLessThanTheSiteAnnounces(t *testing.T) {
	t.Parallel()
	for next, want := range map[string]string{
		"": "announces 620 lots, there are 100",
		`<a rel="next" href="https://elsewhere.example/lots?page=3">next</a>`: `leads on to "https://elsewhere.example/lots?page=3", which is no page of 127.0.0.1`,
	} {
		dir := t.TempDir()
		site := tea.NewSite(3, 620)
		if err := run(t.Context(), []string{"-url", start(t, site), "-direct", "-out", dir}, io.Discard, io.Discard); err != nil {
			t.Fatal(err)
		}
		before, _, _ := retrieved(t, dir)

		args := []string{"-url", start(t, cut(site, next)), "-direct", "-out", dir}
		err := run(t.Context(), args, io.Discard, io.Discard)
		if err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), "-incomplete") {
			t.Errorf("error %v, want %q", err, want)
		}
		if after, _, _ := retrieved(t, dir); len(after) != len(before) {
			t.Errorf("%d lots, of %d before", len(after), len(before))
		}

		var stdout bytes.Buffer
		if err := run(t.Context(), append(args, "-incomplete"), &stdout, io.Discard); err != nil {
			t.Error(err)
		}
		after, _, _ := retrieved(t, dir)
		if got := stdout.String(); len(after) >= len(before) || !strings.Contains(got, want) || !strings.Contains(got, fmt.Sprintf("were %d lots", len(before))) {
			t.Errorf("%d lots, said %q", len(after), got)
		}
	}
}

// A site that answers a page number that is too high with a page that was there
// already has shown less than it announces, whatever the number of rows.
func TestPageAgain(t *testing.T) {
	t.Parallel()
	whole := tea.NewSite(3, 150)
	site := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Query().Get("page") == "3" {
			r = r.Clone(r.Context())
			r.URL.RawQuery = "page=2"
			cut(whole, "").ServeHTTP(w, r)
			return
		}
		whole.ServeHTTP(w, r)
	})

	err := run(t.Context(), []string{"-url", start(t, site), "-direct", "-out", t.TempDir()}, io.Discard, io.Discard)
	if err == nil || !strings.Contains(err.Error(), "/lots?page=3 shows the lots of an earlier page") {
		t.Errorf("error %v", err)
	}
}

// Pages that lead no further end a run with a word: a redirect to one that was
// read, also by a run before, and a site that asks not to follow.
func TestLeadsNoFurther(t *testing.T) {
	t.Parallel()
	whole := tea.NewSite(3, 250)
	for want, third := range map[string]http.HandlerFunc{
		"leads to /lots?page=3, which was read already": func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "/lots?page=2", http.StatusFound)
		},
		"/lots?page=3 asks robots not to follow its links": func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("X-Robots-Tag", "nofollow")
			whole.ServeHTTP(w, r)
		},
	} {
		site := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Query().Get("page") == "3" {
				third(w, r)
				return
			}
			whole.ServeHTTP(w, r)
		})
		args := []string{"-url", start(t, site), "-direct", "-out", t.TempDir()}
		if err := run(t.Context(), args, io.Discard, io.Discard); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v, want %q", err, want)
		}
	}
}

// A run that goes on knows the pages of the one before.
func TestCircleIntoTheJournal(t *testing.T) {
	t.Parallel()
	whole := tea.NewSite(3, 250)
	var broken atomic.Bool
	var asked atomic.Int64
	circle := cut(whole, `<a rel="next" href="/lots?page=3">next</a>`)
	address := start(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked.Add(1)
		switch page := r.URL.Query().Get("page"); {
		case page == "4" && broken.Load():
			http.Error(w, "gone", http.StatusGone)
		case page == "4":
			r = r.Clone(r.Context())
			r.URL.RawQuery = "page=2"
			circle.ServeHTTP(w, r)
		default:
			whole.ServeHTTP(w, r)
		}
	}))
	args := []string{"-url", address, "-direct", "-out", t.TempDir()}
	broken.Store(true)
	if err := run(t.Context(), args, io.Discard, io.Discard); err == nil || !strings.Contains(err.Error(), "410") {
		t.Fatal(err)
	}
	broken.Store(false)
	asked.Store(0)
	if err := run(t.Context(), args, io.Discard, io.Discard); err == nil || !strings.Contains(err.Error(), "leads to /lots?page=3, which was read already") {
		t.Errorf("error %v", err)
	}
	if n := asked.Load(); n > 2 { // robots.txt and page 4
		t.Errorf("%d requests for one page", n)
	}
}

func TestSiteMistakes(t *testing.T) {
	t.Parallel()
	front := `<!doctype html><ul class=estates><li data-code=a><h3>A</h3><b class=region>R</b></ul><a class=lots href=/lots></a>`
	table := `<!doctype html><table class=lots><tr><th>Lot<th>Estate<th>Grade<th>Harvested<th>Chests<th>Weight<th>Moisture<th>Aroma<th>Accepted<th>Price</table>`
	for want, lots := range map[string]func(http.ResponseWriter, *http.Request){
		"leads to /lots, which was read already": func(w http.ResponseWriter, _ *http.Request) {
			_, _ = io.WriteString(w, table+`<a rel=next href=/lots>`)
		},
		"no such column": func(w http.ResponseWriter, _ *http.Request) {
			_, _ = io.WriteString(w, `<!doctype html><table class=lots><tr><th>Lot</table>`)
		},
		"no item on the page": func(w http.ResponseWriter, _ *http.Request) {
			_, _ = io.WriteString(w, `<!doctype html><p>come back tomorrow`)
		},
		"not an HTML page": func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("\x89PNG\r\n\x1a\n")) },
		"answered 302 Found http://10.0.0.1/": func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "http://10.0.0.1/", http.StatusFound)
		},
	} {
		t.Run(want, func(t *testing.T) {
			t.Parallel()
			mux := http.NewServeMux()
			mux.HandleFunc("/{$}", func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, front) })
			mux.HandleFunc("/lots", lots)
			dir := t.TempDir()
			err := run(t.Context(), []string{"-url", start(t, mux), "-direct", "-out", dir}, io.Discard, io.Discard)
			if err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("error = %v, want %q", err, want)
			}
			if got := files(t, dir); got != journalName {
				t.Errorf("files %s", got)
			}
		})
	}
}

func TestMistakes(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	damaged := filepath.Join(dir, "damaged")
	if err := os.MkdirAll(damaged, 0o700); err != nil {
		t.Fatal(err)
	}
	head, _ := json.Marshal("the site of its own, -lots 4000 -seed 1")
	if err := os.WriteFile(filepath.Join(damaged, journalName), append(head, "\nwhat\n"...), 0o600); err != nil {
		t.Fatal(err)
	}
	for want, args := range map[string][]string{
		"say how to go there":    {"-url", "http://tea.example/", "-out", dir},
		"is no address":          {"-url", "tea", "-direct", "-out", dir},
		"not defined":            {"-what"},
		"all settings are flags": {"http://tea.example/"},
		"-rate must be above 0":  {"-rate", "0", "-out", dir},
		"not a directory":        {"-out", filepath.Join(file, "x")},
		"line 2 is damaged":      {"-out", damaged},
		"egress unavailable":     {"-url", "http://tea.example/", "-socks", "127.0.0.1:1", "-out", dir},
	} {
		if err := run(t.Context(), args, io.Discard, io.Discard); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("retrieve %q: %v, want %q", args, err, want)
		}
	}
}

func TestProgress(t *testing.T) {
	t.Parallel()
	var b bytes.Buffer
	p := &progress{w: &b}
	p.add(page{Total: 400})
	p.add(page{Lots: make([]tea.Lot, 99), Problems: []problem{{Row: 1}, {Row: 1}}})
	p.end()
	if want := "\r[#######-----------------------]  25 %, 100 of 400 lots, 2 pages\x1b[K\n"; !strings.HasSuffix(b.String(), want) {
		t.Errorf("%q, want %q at its end", b.String(), want)
	}
	q := &progress{}
	q.add(page{Lots: make([]tea.Lot, 7)})
	if want := "7 lots, 1 pages"; q.line() != want {
		t.Errorf("%q, want %q", q.line(), want)
	}
}

// BenchmarkRetrieve is a whole run against the site on loopback: fetched, read,
// checked, kept in the journal, written twice.
func BenchmarkRetrieve(b *testing.B) {
	const lots = 4000
	address := start(b, tea.NewSite(1, lots))
	dir, n := b.TempDir(), 0
	for b.Loop() {
		if err := run(b.Context(), []string{"-url", address, "-direct", "-out", dir}, io.Discard, io.Discard); err != nil {
			b.Fatal(err)
		}
		n += lots
	}
	b.ReportMetric(float64(n)/b.Elapsed().Seconds(), "rows/s")
	if got, _, problems := retrieved(b, dir); len(got)+len(problems) != lots {
		b.Fatalf("%d lots", len(got))
	}
}
