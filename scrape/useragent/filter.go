package useragent

import (
	"slices"
	"strings"
	"time"
)

// Releases behind the newest that a browser may be before Filter calls it
// dead. Chrome and Firefox release every four weeks, so 26 is two years;
// Safari releases a major version a year.
const (
	maxBehind       = 26
	maxBehindSafari = 2
)

// botWords mark programs. They are looked for in lower case.
var botWords = []string{
	"bot", "crawl", "spider", "slurp", "http://", "https://", "headless", "lighthouse", "preview", "fetch",
	"curl", "wget", "python", "java/", "okhttp", "phantomjs", "scrapy", "monitor", "scan", "electron",
	"facebookexternalhit", "mediapartners", "+http", "@",
}

// Filter returns the agents of list that name a browser someone may run today:
// well formed, of a known family, no bot, and at most two years behind that
// family's newest version in list or in the built-in list, whichever is newer.
// Duplicates are dropped, the order is kept. The result may be empty: nothing
// of a list from 2022 passes.
func Filter(list []string) []string {
	list = believable(list)
	newest := newestVersions(list)
	for family, v := range builtin().newest {
		newest[family] = max(newest[family], v)
	}
	var out []string
	seen := make(map[string]bool, len(list))
	for _, s := range list {
		if !seen[s] && alive(s, newest) {
			seen[s] = true
			out = append(out, s)
		}
	}
	return out
}

// alive reports whether s is a browser near the newest version of its family.
func alive(s string, newest map[Family]int) bool {
	a, ok := Parse(s)
	if !ok || valid(s) != nil || isBot(s) || a.Family == Chromium {
		return false
	}
	limit := maxBehind
	if a.Family == Safari {
		limit = maxBehindSafari
	}
	return release(a) >= newest[versionFamily(a.Family)]-limit
}

// isBot reports whether s names a program and not a browser.
func isBot(s string) bool {
	lower := strings.ToLower(s)
	return slices.ContainsFunc(botWords, func(w string) bool { return strings.Contains(lower, w) })
}

// versionFamily maps all that is built on Chromium to one line of versions.
func versionFamily(f Family) Family {
	switch f {
	case Edge, Opera, Samsung, Chromium, ChromeIOS:
		return Chrome
	}
	return f
}

// release counts releases: Safari went from 18 to 26 in one step.
func release(a Agent) int {
	if a.Family == Safari && a.Major >= 26 {
		return a.Major - 7
	}
	return a.Engine
}

// believable returns the agents of list without those of a release that cannot
// exist yet: the newest of the built-in list and 13 a year since, with four to
// spare. One odd agent must not make all real ones look dead.
func believable(list []string) []string {
	since := int(max(0, time.Since(builtinDate)) / (28 * 24 * time.Hour))
	newest := builtin().newest
	return slices.DeleteFunc(slices.Clone(list), func(s string) bool {
		a, ok := Parse(s)
		known := newest[versionFamily(a.Family)]
		return ok && known > 0 && release(a) > known+4+since
	})
}

// newestVersions returns the newest release of each family that names it in a
// well-formed way, bots left out.
func newestVersions(list []string) map[Family]int {
	newest := map[Family]int{}
	for _, s := range list {
		if a, ok := Parse(s); ok && valid(s) == nil && !isBot(s) {
			f := versionFamily(a.Family)
			newest[f] = max(newest[f], release(a))
		}
	}
	return newest
}
