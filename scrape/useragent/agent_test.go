package useragent_test

import (
	"fmt"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/svcblocks/svcblocks/scrape/useragent"
)

func TestParse(t *testing.T) {
	t.Parallel()
	for s, want := range map[string]string{
		chrome: "chrome 154 154 Linux false",
		"Mozilla/5.0 (Linux; Android 10; K) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/153.0.0.0 Mobile Safari/537.36":                                  "chrome 153 153 Android true",
		"Mozilla/5.0 (X11; CrOS x86_64 14541.0.0) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/152.0.0.0 Safari/537.36":                                   "chrome 152 152 Chrome OS false",
		"Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/153.0.0.0 Safari/537.36 Edg/152.0.0.0":                    "edge 152 153 Windows false",
		"Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/151.0.0.0 Safari/537.36 OPR/135.0.0.0":                    "opera 135 151 Windows false",
		"Mozilla/5.0 (Linux; Android 10; K) AppleWebKit/537.36 (KHTML, like Gecko) SamsungBrowser/30.0 Chrome/143.0.0.0 Mobile Safari/537.36":              "samsung 30 143 Android true",
		"Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/150.0.0.0 YaBrowser/26.8.0.0 Safari/537.36":               "chromium 150 150 Windows false",
		"Mozilla/5.0 (Macintosh; Intel Mac OS X 10.15; rv:156.0) Gecko/20100101 Firefox/156.0":                                                             "firefox 156 156 macOS false",
		"Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/26.6.2 Safari/605.1.15":                          "safari 26 26 macOS false",
		"Mozilla/5.0 (iPhone; CPU iPhone OS 18_7 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/26.6 Mobile/15E148 Safari/604.1":          "safari 26 26 iOS true",
		"Mozilla/5.0 (iPhone; CPU iPhone OS 26_6_2 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) CriOS/153.0.8010.24 Mobile/15E148 Safari/604.1": "chrome-ios 153 153 iOS true",
		"Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/64.0.3282.140 Safari/537.36 Edge/18.17763":                "",
		"Mozilla/5.0 (iPhone; CPU iPhone OS 18_7 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Mobile/15E148":                                    "",
		"Mozilla/5.0 (Windows NT 10.0; Win64; x64) Chrome/120.0.0.0":                                                                                       "",
		"curl/8.5.0": "",
		"":           "",
	} {
		a, ok := useragent.Parse(s)
		got := fmt.Sprintf("%s %d %d %s %v", a.Family, a.Major, a.Engine, a.Platform, a.Mobile)
		if !ok {
			got = ""
		}
		if got != want || a.String != s {
			t.Errorf("Parse(%q) = %q, want %q", s, got, want)
		}
	}
}

// TestBrands holds the formula against values that browsers sent.
func TestBrands(t *testing.T) {
	t.Parallel()
	for s, want := range map[string]string{
		strings.Replace(chrome, "154", "124", 1):                             `"Chromium";v="124", "Google Chrome";v="124", "Not-A.Brand";v="99"`,
		strings.Replace(chrome, "154", "131", 1):                             `"Google Chrome";v="131", "Chromium";v="131", "Not_A Brand";v="24"`,
		strings.Replace(chrome, "154.0.0.0", "156.0.0.0 SomeBrowser/1.0", 1): `"Not:A-Brand";v="8", "Chromium";v="156"`,
		"Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/124.0.0.0 Safari/537.36 Edg/124.0.0.0": `"Chromium";v="124", "Microsoft Edge";v="124", "Not-A.Brand";v="99"`,
	} {
		a, _ := useragent.Parse(s)
		if got := a.Header(true).Get("Sec-CH-UA"); got != want {
			t.Errorf("%s: %s, want %s", s, got, want)
		}
	}
}

func TestHeaderAgreesWithTheAgent(t *testing.T) {
	t.Parallel()
	major := regexp.MustCompile(`Chrome/(\d+)`)
	for _, s := range append(useragent.Builtin().Agents(), "shopbot/1.0") {
		a, _ := useragent.Parse(s)
		for _, secure := range []bool{false, true} {
			h := a.Header(secure)
			if h.Get("User-Agent") != s || h.Get("Accept") == "" || h.Get("Accept-Encoding") == "" {
				t.Errorf("%s: %v", s, h)
			}
			hints := h.Get("Sec-CH-UA")
			if want := secure && strings.Contains(s, " Chrome/"); (hints != "") != want {
				t.Errorf("%s: Sec-CH-UA %q, secure %v", s, hints, secure)
			}
			if hints != "" {
				if v := major.FindStringSubmatch(s)[1]; !strings.Contains(hints, `"Chromium";v="`+v+`"`) {
					t.Errorf("%s: Sec-CH-UA %s has another version", s, hints)
				}
				if want := `"` + a.Platform + `"`; h.Get("Sec-CH-UA-Platform") != want {
					t.Errorf("%s: platform %s, want %s", s, h.Get("Sec-CH-UA-Platform"), want)
				}
				if mobile := h.Get("Sec-CH-UA-Mobile") == "?1"; mobile != strings.Contains(s, " Mobile ") {
					t.Errorf("%s: Sec-CH-UA-Mobile %s", s, h.Get("Sec-CH-UA-Mobile"))
				}
			}
			if brotli := strings.Contains(h.Get("Accept-Encoding"), "br"); brotli != secure && a.Family != "" {
				t.Errorf("%s: Accept-Encoding %s, secure %v", s, h.Get("Accept-Encoding"), secure)
			}
		}
	}
	a, _ := useragent.Parse("Mozilla/5.0 (Macintosh; Intel Mac OS X 10.15; rv:156.0) Gecko/20100101 Firefox/156.0")
	want := map[string][]string{
		"User-Agent": {a.String}, "Accept": {"text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"},
		"Accept-Language": {"en-US,en;q=0.5"}, "Accept-Encoding": {"gzip, deflate, br, zstd"}, "Upgrade-Insecure-Requests": {"1"},
		"Sec-Fetch-Dest": {"document"}, "Sec-Fetch-Mode": {"navigate"}, "Sec-Fetch-Site": {"none"}, "Sec-Fetch-User": {"?1"},
	}
	if diff := cmp.Diff(want, map[string][]string(a.Header(true))); diff != "" {
		t.Errorf("Firefox's header (-want +got):\n%s", diff)
	}
}
