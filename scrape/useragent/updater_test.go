package useragent_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/svcblocks/svcblocks/internal/testenv"
	"github.com/svcblocks/svcblocks/scrape/useragent"
)

// list returns the agents of n Chrome versions that end with newest.
func list(n, newest int) []string {
	var agents []string
	for i := range n {
		agents = append(agents, strings.Replace(chrome, "154", fmt.Sprint(newest-i), 1))
	}
	return agents
}

func jsonList(agents []string) string { return `["` + strings.Join(agents, `","`) + `"]` }

func serve(t testing.TB, handler http.HandlerFunc) *httptest.Server {
	t.Helper()
	site := httptest.NewServer(handler)
	t.Cleanup(site.Close)
	return site
}

func transport(t testing.TB) *http.Transport {
	tr := &http.Transport{}
	t.Cleanup(tr.CloseIdleConnections)
	return tr
}

func TestUpdate(t *testing.T) {
	t.Parallel()
	good := list(20, 156)
	weighted := `[{"userAgent":"` + good[0] + `","weight":0.25},{"userAgent":"` + strings.Join(good[1:], `","weight":0.5},{"userAgent":"`) + `","weight":0.5}]`
	hang := make(chan struct{})
	t.Cleanup(func() { close(hang) })
	for _, tc := range []struct {
		name    string
		handler http.HandlerFunc
		want    []string
		says    string
	}{
		{"JSON", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, jsonList(good)) }, good, ""},
		{"text", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, strings.Join(good, "\n")) }, good, ""},
		{"weights", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, weighted) }, good, ""},
		{"HTML", func(w http.ResponseWriter, _ *http.Request) {
			fmt.Fprint(w, "<table><td>"+strings.Join(good, "</td><td>")+"</td></table>")
		}, good, ""},
		{"with bots", func(w http.ResponseWriter, _ *http.Request) {
			fmt.Fprint(w, strings.Join(append([]string{"Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)"}, good...), "\n"))
		}, good, ""},
		{"behind a redirect", func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/" {
				http.Redirect(w, r, "/list", http.StatusFound)
				return
			}
			fmt.Fprint(w, jsonList(good))
		}, good, ""},
		{"cut JSON", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, jsonList(good)[:1000]) }, nil, "unexpected end"},
		{"cut text", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, strings.Join(good, "\n")[:1500]) }, nil, "was it cut"},
		{"cut connection", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "100000")
			fmt.Fprint(w, strings.Join(good, "\n"))
		}, nil, "EOF"},
		{"error page", func(w http.ResponseWriter, _ *http.Request) {
			fmt.Fprint(w, "<html><body>Just a moment...</body></html>")
		}, nil, "no user agent"},
		{"bots alone", func(w http.ResponseWriter, _ *http.Request) {
			fmt.Fprint(w, strings.Repeat("Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)\n", 50))
		}, nil, "0 of 1"},
		{"too few", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, strings.Join(good[:9], "\n")) }, nil, "9 of 9"},
		{"out of date", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, strings.Join(list(20, 151), "\n")) }, nil, "chrome (151)"},
		{"30 MB", func(w http.ResponseWriter, _ *http.Request) {
			for range 30 {
				_, _ = w.Write([]byte(strings.Repeat(good[0]+"\n", (1<<20)/(len(good[0])+1)))) // the client may have enough
			}
		}, nil, "more than"},
		{"404", http.NotFound, nil, "404"},
		{"hangs", func(_ http.ResponseWriter, r *http.Request) {
			select {
			case <-hang:
			case <-r.Context().Done():
			}
		}, nil, "not finished within"},
		{"hangs midway", func(w http.ResponseWriter, r *http.Request) {
			fmt.Fprint(w, jsonList(good)[:1000])
			_ = http.NewResponseController(w).Flush()
			select {
			case <-hang:
			case <-r.Context().Done():
			}
		}, nil, "not finished within"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			site := serve(t, tc.handler)
			path := filepath.Join(t.TempDir(), "agents.txt")
			before := list(12, 154)
			old := "# ours\n" + strings.Join(before, "\n") + "\n"
			if err := os.WriteFile(path, []byte(old), 0o600); err != nil {
				t.Fatal(err)
			}
			pool, err := useragent.Load(path)
			if err != nil {
				t.Fatal(err)
			}
			u := useragent.NewUpdater(pool, site.URL+"/?token=hunter2", &useragent.UpdaterOptions{Transport: transport(t), Timeout: 10 * time.Second})
			err = u.Update(t.Context())
			text, _ := os.ReadFile(path)
			if tc.want != nil {
				if err != nil || !slices.Equal(pool.Agents(), tc.want) || pool.Err() != nil {
					t.Errorf("Update = %v, pool of %d, Err %v", err, pool.Len(), pool.Err())
				}
				again, err := useragent.Load(path)
				if err != nil || !slices.Equal(again.Agents(), tc.want) {
					t.Errorf("the file afterwards: %v", err)
				}
				return
			}
			if err == nil || !strings.Contains(err.Error(), tc.says) || strings.Contains(err.Error(), "hunter2") {
				t.Errorf("Update = %v, want it to say %q", err, tc.says)
			}
			if diff := cmp.Diff(before, pool.Agents()); diff != "" || string(text) != old {
				t.Errorf("the pool or its file changed:\n%s", diff)
			}
			if pool.Err() == nil {
				t.Error("Pool.Err is nil")
			}
		})
	}
}

// TestUpdateFromRealLists feeds the updater with the lists of two packages as
// they are published.
func TestUpdateFromRealLists(t *testing.T) {
	t.Parallel()
	lists := testenv.Require(t, "user-agents").Path
	site := httptest.NewServer(http.FileServer(http.Dir(lists)))
	t.Cleanup(site.Close)
	for name, least := range map[string]int{"top-user-agents.json": 50, "user-agents.json": 200} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			path := filepath.Join(t.TempDir(), "agents")
			pool := useragent.Builtin()
			u := useragent.NewUpdater(pool, site.URL+"/"+name, &useragent.UpdaterOptions{Transport: transport(t), File: path})
			if err := u.Update(t.Context()); err != nil {
				t.Fatal(err)
			}
			if n := pool.Len(); n < least {
				t.Errorf("%d agents, want at least %d", n, least)
			}
			again, err := useragent.Load(path)
			if err != nil || !slices.Equal(again.Agents(), pool.Agents()) {
				t.Errorf("the file afterwards: %v", err)
			}
			if diff := cmp.Diff(pool.Agents(), useragent.Filter(pool.Agents())); diff != "" {
				t.Errorf("not all are browsers in use:\n%s", diff)
			}
			t.Logf("%d agents", pool.Len())
		})
	}
}

func TestUpdaterRun(t *testing.T) {
	t.Parallel()
	fetched := make(chan struct{}, 10)
	site := serve(t, func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprint(w, jsonList(list(20, 156)))
		fetched <- struct{}{}
	})
	pool := useragent.Builtin()
	u := useragent.NewUpdater(pool, site.URL, &useragent.UpdaterOptions{Transport: transport(t), Every: 10 * time.Millisecond})
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- u.Run(ctx) }()
	<-fetched
	if err := u.Run(ctx); !errors.Is(err, useragent.ErrRunning) {
		t.Errorf("second Run = %v, want ErrRunning", err)
	}
	<-fetched
	cancel()
	if err := <-done; err != nil {
		t.Errorf("Run = %v", err)
	}
	if pool.Len() != 20 || pool.Source() != site.URL {
		t.Errorf("%d agents of %s", pool.Len(), pool.Source())
	}
	err := useragent.NewUpdater(pool, "nonsense", nil).Run(t.Context())
	if err == nil || !strings.Contains(err.Error(), "Transport") || !strings.Contains(err.Error(), "URL") {
		t.Errorf("Run without settings = %v", err)
	}
}

// fileVariable makes the test binary replace a file until it is killed.
const fileVariable = "SVCBLOCKS_TEST_AGENTS_FILE"

// TestReplaceForever is no test: it is the process that TestKilledUpdate kills.
func TestReplaceForever(t *testing.T) {
	path := os.Getenv(fileVariable)
	if path == "" {
		return
	}
	n := 0
	site := serve(t, func(w http.ResponseWriter, _ *http.Request) {
		n++
		fmt.Fprint(w, jsonList(list(12+n%13, 156)))
	})
	u := useragent.NewUpdater(useragent.Builtin(), site.URL, &useragent.UpdaterOptions{Transport: transport(t), File: path})
	fmt.Println("ready")
	for {
		if err := u.Update(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
}

func TestKilledUpdate(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	path := filepath.Join(dir, "agents.txt")
	if err := os.WriteFile(path, []byte(strings.Join(list(12, 154), "\n")), 0o600); err != nil {
		t.Fatal(err)
	}
	for i := range testenv.Reps(100) {
		cmd := testenv.Self("-test.run=^TestReplaceForever$")
		cmd.Env = append(os.Environ(), fileVariable+"="+path)
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		_, _ = out.Read(make([]byte, 16)) // it is ready, or has ended
		time.Sleep(time.Duration(i*7%40) * time.Millisecond)
		_ = cmd.Process.Kill()
		_ = cmd.Wait() // it was killed
		pool, err := useragent.Load(path)
		if err != nil {
			t.Fatalf("after kill %d: %v", i, err)
		}
		if n := pool.Len(); n < 12 || n > 24 {
			t.Errorf("after kill %d: %d agents", i, n)
		}
	}
}
