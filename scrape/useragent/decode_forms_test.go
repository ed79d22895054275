package useragent_test

import (
	"strings"
	"testing"

	"github.com/svcblocks/svcblocks/scrape/useragent"
)

const chrome153 = "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/153.0.0.0 Safari/537.36"

// TestForms: a list is read as what it is, or refused with its line; nothing
// but the agent is ever taken for it.
func TestForms(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct{ list, says string }{
		"CSV with a head line":  {"user_agent,times_seen\n\"" + chrome153 + "\",123\n", ""},
		"CSV, percent first":    {"percent,useragent\n12.5%,\"" + chrome153 + "\"\n", ""},
		"JSON lines":            {"{\"useragent\":\"" + chrome153 + "\"}\n{\"useragent\":\"" + chrome153 + "\"}\n", ""},
		"useragent and percent": {"[{\"useragent\":\"" + chrome153 + "\",\"percent\":12.5}]", ""},
		"CRLF":                  {chrome153 + "\r\n" + chrome153 + "\r\n", ""},
		"quoted":                {"\"" + chrome153 + "\"\n", "line 1"},
		"quoted, comma":         {chrome153 + "\n\"" + chrome153 + "\",\n", "line 2"},
		"ranked":                {"1\t" + chrome153 + "\n", "line 1"},
		"percent before":        {"12.5% " + chrome153 + "\n", "line 1"},
		"numbered":              {"1. " + chrome153 + "\n", "line 1"},
		"YAML":                  {"- " + chrome153 + "\n", "line 1"},
		"with the field's name": {"User-Agent: " + chrome153 + "\n", "line 1"},
		"HTML escapes":          {"&quot;" + chrome153 + "&quot;\n", "line 1"},
		"an object of objects":  {"{\"browsers\":{\"chrome\":[\"" + chrome153 + "\"]}}", "line 1"},
		"CSV, bad weight":       {"ua,weight\n\"" + chrome153 + "\",many\n", "line 2"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			entries, err := useragent.Decode([]byte(tc.list))
			if tc.says != "" {
				if err == nil || !strings.Contains(err.Error(), tc.says) {
					t.Errorf("%v, %v; want an error that says %s", entries, err, tc.says)
				}
				return
			}
			if err != nil || len(entries) != 1 || entries[0].Agent != chrome153 {
				t.Errorf("%v, %v", entries, err)
			}
		})
	}
}

// TestOutlier: one agent of a version that cannot exist changes nothing.
func TestOutlier(t *testing.T) {
	t.Parallel()
	list := useragent.Builtin().Agents()
	odd := strings.Replace(chrome153, "153", "999", 1)
	if got := useragent.Filter(append([]string{odd}, list...)); len(got) != len(list) || got[0] == odd {
		t.Errorf("%d of %d agents beside Chrome 999", len(got), len(list))
	}
}

// TestCommonAgentsAreDrawnMore: the built-in list is drawn from by how common
// its browsers are.
func TestCommonAgentsAreDrawnMore(t *testing.T) {
	t.Parallel()
	pool := useragent.Builtin()
	agents := pool.Agents()
	seen := map[string]int{}
	for range 20_000 {
		seen[pool.GetRandom()]++
	}
	if first, last := seen[agents[0]], seen[agents[len(agents)-1]]; first < 10*last {
		t.Errorf("the most common agent was drawn %d times, the last one %d times", first, last)
	}
}
