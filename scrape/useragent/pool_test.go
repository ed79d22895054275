package useragent_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/corpix/uarand"
	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"github.com/svcblocks/svcblocks/scrape/useragent"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const chrome = "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/154.0.0.0 Safari/537.36"

func TestBuiltin(t *testing.T) {
	t.Parallel()
	pool := useragent.Builtin()
	if pool.Len() < 50 || !strings.HasPrefix(pool.Source(), "top-user-agents 2") || pool.Date().Year() < 2026 {
		t.Errorf("%d agents of %s, %v", pool.Len(), pool.Source(), pool.Date())
	}
	families := map[useragent.Family]int{}
	for _, s := range pool.Agents() {
		a, ok := useragent.Parse(s)
		if !ok {
			t.Errorf("Parse(%q) knows no browser", s)
		}
		families[a.Family]++
	}
	for _, family := range []useragent.Family{useragent.Chrome, useragent.Edge, useragent.Firefox, useragent.Safari} {
		if families[family] == 0 {
			t.Errorf("no %s in it", family)
		}
	}
	if diff := cmp.Diff(pool.Agents(), useragent.Filter(pool.Agents())); diff != "" {
		t.Errorf("Filter takes something out of the built-in list (-had +kept):\n%s", diff)
	}
}

func TestFilter(t *testing.T) {
	t.Parallel()
	keep := []string{chrome, "Mozilla/5.0 (Windows NT 10.0; Win64; x64; rv:156.0) Gecko/20100101 Firefox/156.0"}
	drop := []string{
		"Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)",
		"Mozilla/5.0 AppleWebKit/537.36 (KHTML, like Gecko; compatible; bingbot/2.0; +http://www.bing.com/bingbot.htm) Chrome/154.0.0.0 Safari/537.36",
		"Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) HeadlessChrome/154.0.0.0 Safari/537.36",
		"Mozilla/5.0 (X11; Linux x86_64; rv:156.0) Gecko/20100101 Firefox/156.0 (compatible; ExampleBot/1.0; +https://example.com/)",
		"Mozilla/5.0 (Windows NT 6.1; WOW64; Trident/7.0; rv:11.0) like Gecko",
		"Mozilla/4.0 (compatible; MSIE 6.0; Windows NT 5.1)",
		"Opera/9.80 (Windows NT 6.1; WOW64) Presto/2.12.388 Version/12.18",
		strings.Replace(chrome, "154", "101", 1),
		chrome[:90],
		chrome + "\u00e9",
		"Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) obsidian/1.11.7 Chrome/153.0.7444.265 Electron/39.5.1 Safari/537.36",
		"Mozilla/5.0 (Windows NT 10.0; Win64; x64) Chrome/153.0.0.0",
		"curl/8.5.0", "", chrome,
	}
	got := useragent.Filter(append(append(drop[:len(drop)-1:len(drop)-1], keep...), chrome))
	if diff := cmp.Diff(keep, got); diff != "" {
		t.Errorf("Filter (-want +got):\n%s", diff)
	}
	if left := useragent.Filter(uarand.UserAgents); len(left) != 0 {
		t.Errorf("%d of uarand's entries of 2022 pass, as %q", len(left), left[0])
	}
}

func TestDecode(t *testing.T) {
	t.Parallel()
	firefox := "Mozilla/5.0 (Windows NT 10.0; Win64; x64; rv:156.0) Gecko/20100101 Firefox/156.0"
	both := []useragent.Entry{{Agent: chrome}, {Agent: firefox}}
	for _, tc := range []struct {
		name, text string
		want       []useragent.Entry
		says       string
	}{
		{"text", "# ours\n" + chrome + "\r\n\n  " + firefox + "  \n", both, ""},
		{"text with a mark", "\xef\xbb\xbf" + chrome + "\n" + firefox, both, ""},
		{"own name", "shopbot/1.0 (+https://example.com/bot)\n", []useragent.Entry{{Agent: "shopbot/1.0 (+https://example.com/bot)"}}, ""},
		{"strings", `["` + chrome + `", "` + firefox + `"]`, both, ""},
		{"objects", `[{"userAgent":"` + chrome + `","weight":0.5},{"ua":"` + firefox + `"},{"user_agent":"` + chrome + `","weight":1}]`, []useragent.Entry{{Agent: chrome, Weight: 1.5}, {Agent: firefox}}, ""},
		{"html", "<!doctype html><table><tr><td>1</td><td>" + chrome + "</td></tr></table><pre>\n" + firefox + "\n</pre><p>Chrome</p>", both, ""},
		{"html with entities", "<ul><li>" + strings.ReplaceAll(chrome, ";", "&#59;") + "</li></ul>", both[:1], ""},
		{"empty", "", nil, "no user agent"},
		{"comments alone", "# a\n# b\n", nil, "no user agent"},
		{"html without any", "<html><body>Just a moment...</body></html>", nil, "no user agent"},
		{"cut text", chrome + "\n" + firefox[:40], nil, "line 2: user agent \"Mozilla/5.0 (Windows NT 10.0; Win64; x64\" has unbalanced parentheses"},
		{"cut JSON", `["` + chrome + `", "Moz`, nil, "unexpected end"},
		{"JSON object", `{"agents": ["` + chrome + `"]}`, nil, "an object with"},
		{"JSON of numbers", `[1, 2]`, nil, "element 0"},
		{"empty agent", `[{"name":"x"}]`, nil, "element 0: empty"},
		{"negative weight", `[{"ua":"` + chrome + `","weight":-1}]`, nil, "weight -1"},
		{"control character", "Mozilla\x01\n", nil, "0x1"},
		{"not ASCII", "Mozilla/5.0 (é)\n", nil, "0xc3"},
		{"long", strings.Repeat("x", 600), nil, "600 bytes"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			got, err := useragent.Decode([]byte(tc.text))
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Errorf("Decode (-want +got):\n%s", diff)
			}
			if tc.says == "" && err != nil || tc.says != "" && (err == nil || !strings.Contains(err.Error(), tc.says)) {
				t.Errorf("Decode = %v, want it to say %q", err, tc.says)
			}
		})
	}
	if _, err := useragent.Decode(make([]byte, 21<<20)); err == nil {
		t.Error("21 MiB were taken")
	}
}

func TestLoadFollowsTheFile(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		path := filepath.Join(dir, "agents.txt")
		write := func(text string) {
			t.Helper()
			if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := useragent.Load(path); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("Load of no file = %v", err)
		}
		write("first/1\n")
		pool, err := useragent.Load(path)
		if err != nil {
			t.Fatal(err)
		}
		for _, step := range []struct {
			text, want string
			fails      bool
		}{
			{"second/2 longer\n", "second/2 longer", false},
			{"third/3 (cut\n", "second/2 longer", true},
			{"", "second/2 longer", true},
			{"fourth\n", "fourth", false},
		} {
			write(step.text)
			time.Sleep(3 * time.Second)
			if got := pool.GetRandom(); got != step.want || (pool.Err() != nil) != step.fails {
				t.Errorf("after %q: %q, %v", step.text, got, pool.Err())
			}
		}
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
		time.Sleep(3 * time.Second)
		if got := pool.GetRandom(); got != "fourth" || pool.Err() == nil {
			t.Errorf("without the file: %q, %v", got, pool.Err())
		}
	})
}

func TestWeights(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "agents.json")
	if err := os.WriteFile(path, []byte(`[{"ua":"a","weight":3},{"ua":"never"},{"ua":"b","weight":1}]`), 0o600); err != nil {
		t.Fatal(err)
	}
	pool, err := useragent.Load(path)
	if err != nil {
		t.Fatal(err)
	}
	counts := map[string]int{}
	for range 40_000 {
		counts[pool.GetRandom()]++
	}
	if counts["never"] != 0 || counts["a"] < 29_000 || counts["a"] > 31_000 {
		t.Errorf("drawn %v, want a three times as often as b", counts)
	}
	if (&useragent.Pool{}).GetRandom() != "" {
		t.Error("the zero Pool draws something")
	}
	if _, err := useragent.NewPool(); !errors.Is(err, useragent.ErrNoAgents) {
		t.Errorf("NewPool() = %v", err)
	}
	if _, err := useragent.NewPool("ok", "no\nbreak"); err == nil {
		t.Error("NewPool takes a line break")
	}
}

func TestPoolIsSafeForConcurrentUse(t *testing.T) {
	t.Parallel()
	pool := useragent.Builtin()
	all := pool.Agents()
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for range 1000 {
				if s := pool.GetRandom(); !slices.Contains(all, s) {
					t.Errorf("drew %q", s)
				}
			}
		})
	}
	wg.Wait()
}

func TestGetRandomDoesNotAllocate(t *testing.T) {
	pool := useragent.Builtin()
	if n := testing.AllocsPerRun(100, func() { pool.GetRandom() }); n != 0 {
		t.Errorf("GetRandom makes %v allocations", n)
	}
}

func FuzzDecode(f *testing.F) {
	f.Add([]byte("# a\n" + chrome + "\n"))
	f.Add([]byte(`["` + chrome + `"]`))
	f.Add([]byte(`[{"userAgent":"` + chrome + `","weight":0.1}]`))
	f.Add([]byte("<td>" + chrome + "</td>"))
	f.Fuzz(func(t *testing.T, data []byte) {
		entries, err := useragent.Decode(data)
		if err == nil && len(entries) == 0 {
			t.Error("no entries and no error")
		}
		for _, e := range entries {
			if e.Agent == "" || len(e.Agent) > 512 || strings.ContainsAny(e.Agent, "\r\n\x00") || e.Weight < 0 {
				t.Errorf("entry %+v", e)
			}
			a, _ := useragent.Parse(e.Agent)
			_ = a.Header(true)
			_ = fmt.Sprint(a)
		}
	})
}
