package robots_test

import (
	"strings"
	"testing"
	"time"

	"github.com/svcblocks/svcblocks/scrape/internal/robots"
)

// cases are those of RFC 9309 and of the tests that Google publishes with its
// parser (robots_test.cc), by its names. Each lists paths that may and may not
// be fetched. Where the two disagree the RFC holds, as the name says.
var cases = []struct {
	name, file, agent string
	allowed, denied   []string
}{
	{"SystemTest", "user-agent: FooBot\ndisallow: /\n", "FooBot", nil, []string{"/", "/x/y"}},
	{"a NUL in a line", "User-agent: *\x00\nDis\x00allow: /a\n\x00Disallow: /b\x00\n", "FooBot", []string{"/c"}, []string{"/a", "/b"}},
	{"other control characters", "User-agent: *\v\nDisallow: /a\x1a\nDisallow: /b\x7f$\n\x1a", "FooBot", []string{"/bc"}, []string{"/a", "/b"}},
	{"byte order marks of files that were joined", "\ufeffUser-agent: FooBot\nDisallow: /a\n\ufeffUser-agent: *\nDisallow: /\n", "BarBot", nil, []string{"/a", "/"}},
	{"SystemTest, empty file", "", "FooBot", []string{"/", "/x/y"}, nil},
	{"SystemTest, other agent", "user-agent: FooBot\ndisallow: /\n", "BarBot", []string{"/"}, nil},
	{"SystemTest, no agent", "user-agent: FooBot\ndisallow: /\n", "", []string{"/"}, nil},
	{"ID_LineSyntax_Line", "user-agent: FooBot\ndisallow: /\n", "FooBot", nil, []string{"/x/y"}},
	{"ID_LineSyntax_Line, not lines of the standard", "foo: FooBot\nbar: /\n", "FooBot", []string{"/x/y"}, nil},
	{"GoogleOnly_LineSyntax, no colons", "user-agent FooBot\ndisallow /\n", "FooBot", nil, []string{"/x/y"}},
	{
		"ID_LineSyntax_Groups", "allow: /foo/bar/\n\nuser-agent: FooBot\ndisallow: /\nallow: /x/\nuser-agent: BarBot\ndisallow: /\nallow: /y/\n\n\nallow: /w/\nuser-agent: BazBot\n\nuser-agent: FooBot\nallow: /z/\ndisallow: /\n",
		"FooBot",
		[]string{"/x/b", "/z/d"},
		[]string{"/y/c", "/foo/bar/"},
	},
	{
		"ID_LineSyntax_Groups, second group", "user-agent: FooBot\ndisallow: /\nallow: /x/\nuser-agent: BarBot\ndisallow: /\nallow: /y/\n\n\nallow: /w/\nuser-agent: BazBot\n",
		"BarBot",
		[]string{"/y/c", "/w/a"},
		[]string{"/z/d"},
	},
	{"ID_LineSyntax_Groups_OtherRules", "User-agent: BarBot\nSitemap: https://foo.bar/sitemap\nUser-agent: *\nDisallow: /\n", "BarBot", nil, []string{"/"}},
	{"ID_LineSyntax_Groups_OtherRules, unknown line", "User-agent: FooBot\nInvalid-Unknown-Line: unknown\nUser-agent: *\nDisallow: /\n", "FooBot", nil, []string{"/"}},
	{"Crawl-delay does not part the agents", "User-agent: a\nCrawl-delay: 5\nUser-agent: b\nDisallow: /\n", "a", nil, []string{"/"}},
	{"REPLineNamesCaseInsensitive", "USER-AGENT: FooBot\nALLOW: /x/\nDISALLOW: /\n", "FooBot", []string{"/x/y"}, []string{"/a/b"}},
	{"ID_UserAgentValueCaseInsensitive", "User-Agent: FOO BAR\nAllow: /x/\nDisallow: /\n", "foo", []string{"/x/y"}, []string{"/a/b"}},
	{"GoogleOnly_AcceptUserAgentUpToFirstSpace", "User-Agent: *\nDisallow: /\nUser-Agent: Foo Bar\nAllow: /x/\nDisallow: /\n", "Foo", []string{"/x/y"}, []string{"/"}},
	{"ID_GlobalGroups_Secondary", "user-agent: *\nallow: /\nuser-agent: FooBot\ndisallow: /\n", "FooBot", nil, []string{"/x/y"}},
	{"ID_GlobalGroups_Secondary, for others", "user-agent: *\nallow: /\nuser-agent: FooBot\ndisallow: /\n", "BarBot", []string{"/x/y"}, nil},
	{"ID_GlobalGroups_Secondary, none for others", "user-agent: FooBot\nallow: /\nuser-agent: BarBot\ndisallow: /\nuser-agent: BazBot\ndisallow: /\n", "QuxBot", []string{"/x/y"}, nil},
	{"a group without rules is a group", "user-agent: *\ndisallow: /\nuser-agent: FooBot\n", "FooBot", []string{"/"}, nil},
	{"star with text after it", "User-agent: * baz\nDisallow: /\n", "FooBot", nil, []string{"/"}},
	{"ID_AllowDisallow_Value_CaseSensitive", "user-agent: FooBot\ndisallow: /x/\n", "FooBot", []string{"/X/y"}, []string{"/x/y"}},
	{"ID_LongestMatch, equal", "user-agent: FooBot\ndisallow: /x/page.html\nallow: /x/page.html\n", "FooBot", []string{"/x/page.html"}, nil},
	{"ID_LongestMatch, deny longer", "user-agent: FooBot\ndisallow: /x/page.html\nallow: /x/\n", "FooBot", []string{"/x/"}, []string{"/x/page.html"}},
	{"ID_LongestMatch, allow longer", "user-agent: FooBot\nallow: /x/page.html\ndisallow: /x/\n", "FooBot", []string{"/x/page.html"}, []string{"/x/"}},
	{"ID_LongestMatch, empty patterns", "user-agent: FooBot\ndisallow: \nallow: \n", "FooBot", []string{"/x/page.html"}, nil},
	{"ID_LongestMatch, whole site", "user-agent: FooBot\ndisallow: /\nallow: /\n", "FooBot", []string{"/x/page.html"}, nil},
	{"ID_LongestMatch, with and without slash", "user-agent: FooBot\ndisallow: /x\nallow: /x/\n", "FooBot", []string{"/x/", "/x/page"}, []string{"/x"}},
	{"ID_LongestMatch, star", "user-agent: FooBot\nallow: /page\ndisallow: /*.html\n", "FooBot", []string{"/page"}, []string{"/page.html"}},
	{"ID_LongestMatch, end", "user-agent: FooBot\nallow: /x/page.\ndisallow: /*.html\n", "FooBot", []string{"/x/page.html"}, []string{"/x/y.html"}},
	{"ID_LongestMatch, group star", "User-agent: *\nDisallow: /x/\nUser-agent: FooBot\nDisallow: /y/\n", "FooBot", []string{"/x/page"}, []string{"/y/page"}},
	{"RFC 9309 §2.2.3, special characters", "User-agent: *\nDisallow: /path/file-with-a-%2A.html\nDisallow: /path/foo-%24\nDisallow: /a$b\n", "FooBot", []string{"/path/file-with-a-x.html", "/path/foo-", "/path/foo", "/a"}, []string{"/path/file-with-a-*.html", "/path/file-with-a-%2a.html", "/path/foo-$", "/a$b", "/a%24b"}},
	{"ID_Encoding, query", "User-agent: FooBot\nDisallow: /\nAllow: /foo/bar?qux=taz&baz=http://foo.bar?tar&par\n", "FooBot", []string{"/foo/bar?qux=taz&baz=http://foo.bar?tar&par"}, nil},
	{"ID_Encoding, raw UTF-8", "User-agent: FooBot\nDisallow: /\nAllow: /foo/bar/ツ\n", "FooBot", []string{"/foo/bar/%E3%83%84", "/foo/bar/%e3%83%84", "/foo/bar/ツ"}, nil},
	{"ID_Encoding, encoded UTF-8", "User-agent: FooBot\nDisallow: /\nAllow: /foo/bar/%E3%83%84\n", "FooBot", []string{"/foo/bar/%E3%83%84", "/foo/bar/ツ"}, nil},
	{"RFC 9309 §2.2.2, encoded unreserved (Google's parser differs)", "User-agent: FooBot\nDisallow: /\nAllow: /foo/bar/%62%61%7A\n", "FooBot", []string{"/foo/bar/baz", "/foo/bar/%62%61%7A"}, nil},
	{"RFC 9309 §2.2.2, encoded reserved stays", "User-agent: *\nDisallow: /a%2Fb\n", "", []string{"/a/b"}, []string{"/a%2fb"}},
	{"ID_SpecialCharacters, star", "User-agent: FooBot\nDisallow: /foo/bar/quz\nAllow: /foo/*/qux\n", "FooBot", []string{"/foo/quz", "/foo//quz", "/foo/bax/quz"}, []string{"/foo/bar/quz"}},
	{"ID_SpecialCharacters, end", "User-agent: FooBot\nDisallow: /foo/bar$\nAllow: /foo/bar/qux\n", "FooBot", []string{"/foo/bar/qux", "/foo/bar/", "/foo/bar/baz"}, []string{"/foo/bar"}},
	{"ID_SpecialCharacters, comment", "User-agent: FooBot\n# Disallow: /\nDisallow: /foo/quz#qux\nAllow: /\n", "FooBot", []string{"/foo/bar"}, []string{"/foo/quz"}},
	{"a dollar within is itself", "User-agent: *\nDisallow: /a$b\n", "", []string{"/a", "/ab"}, []string{"/a$bc"}},
	{"stars in a row", "User-agent: *\nDisallow: /a**b$\n", "", []string{"/abc"}, []string{"/ab", "/axxb", "/abb"}},
	{"GoogleOnly_IndexHTMLisDirectory", "User-Agent: *\nAllow: /allowed-slash/index.html\nDisallow: /\n", "foobot", []string{"/allowed-slash/", "/allowed-slash/index.html"}, []string{"/allowed-slash/index.htm", "/anyother-url"}},
	{"ID_LinesNumbersAreCountedCorrectly, DOS", "User-Agent: foo\r\nAllow: /some/path\r\nUser-Agent: bar\r\n\r\n\r\nDisallow: /\r\n", "bar", nil, []string{"/"}},
	{"ID_LinesNumbersAreCountedCorrectly, Mac", "User-Agent: foo\rAllow: /some/path\rUser-Agent: bar\r\r\rDisallow: /\r", "bar", nil, []string{"/"}},
	{"ID_UTF8ByteOrderMarkIsSkipped", "\xEF\xBB\xBFUser-Agent: foo\nDisallow: /AnyValue\n", "foo", []string{"/"}, []string{"/AnyValue"}},
	{"ID_NonStandardLineExample_Sitemap", "Sitemap: http://foo.bar/sitemap.xml\nUser-Agent: foo\nDisallow: /x\n", "foo", []string{"/"}, []string{"/x"}},
	{"KeyMisspelled", "useragent: FooBot\ndissallow: /a\ndissalow: /b\ndisalow: /c\ndiasllow: /d\ndisallaw: /e\n", "FooBot", []string{"/f"}, []string{"/a", "/b", "/c", "/d", "/e"}},
	{"robots.txt itself", "User-agent: *\nDisallow: /\n", "", []string{"/robots.txt"}, []string{"/robots.txt.bak"}},
	{"a rule before the first group", "Crawl-delay: 10\nDisallow: /\nUser-agent: *\nDisallow: /x\n", "", []string{"/"}, []string{"/x"}},
	{"a page of HTML", "<!DOCTYPE html><html><body>User-agent: *<br>Disallow: /</body></html>", "", []string{"/"}, nil},
	{"RFC 9309 §5.1, foobot", rfcExample, "foobot", []string{"/example/page.html", "/example/allowed.gif"}, []string{"/example/", "/example/disallowed.gif"}},
	{"RFC 9309 §5.1, quxbot", rfcExample, "quxbot", []string{"/", "/publications/"}, nil},
	{"RFC 9309 §5.1, barbot", rfcExample, "barbot", []string{"/"}, []string{"/example/page.html"}},
	{"RFC 9309 §5.1, bazbot", rfcExample, "bazbot", []string{"/"}, []string{"/example/page.html"}},
	{"RFC 9309 §5.1, others", rfcExample, "other", []string{"/x"}, []string{"/x.gif", "/example/"}},
	{"RFC 9309 §5.2", "User-Agent: foobot\nAllow: /example/page/\nDisallow: /example/page/disallowed.gif\n", "foobot", []string{"/example/page/"}, []string{"/example/page/disallowed.gif"}},
}

const rfcExample = `User-Agent: *
Disallow: *.gif$
Disallow: /example/
Allow: /publications/

User-Agent: foobot
Disallow:/
Allow:/example/page.html
Allow:/example/allowed.gif

User-Agent: barbot
User-Agent: bazbot
Disallow: /example/page.html

User-Agent: quxbot
`

func TestAllowed(t *testing.T) {
	t.Parallel()
	for _, tc := range cases {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			rules := robots.Parse([]byte(tc.file), tc.agent)
			for _, path := range tc.allowed {
				if !rules.Allowed(path) {
					t.Errorf("%s is denied", path)
				}
			}
			for _, path := range tc.denied {
				if rules.Allowed(path) {
					t.Errorf("%s is allowed", path)
				}
			}
		})
	}
}

// TestCut: half of a rule may be another rule.
func TestCut(t *testing.T) {
	t.Parallel()
	const rule = "Disallow: /private\n"
	for _, extra := range []int{0, 1, 8, len(rule) - 1, len(rule)} {
		head := "User-agent: *\nDisallow: /first\n"
		padding := robots.MaxBytes - len(head) - len(rule) + extra
		text := head + "#" + strings.Repeat("x", padding-2) + "\n" + rule
		r := robots.Parse([]byte(text), "")
		if r.Allowed("/first") || !r.Allowed("/p") || !r.Allowed("/other") || r.Allowed("/private") != (extra > 0) {
			t.Errorf("cut %d bytes before its end: /first %v, /p %v, /private %v", extra, r.Allowed("/first"), r.Allowed("/p"), r.Allowed("/private"))
		}
	}
}

func TestDelay(t *testing.T) {
	t.Parallel()
	for file, want := range map[string]time.Duration{
		"user-agent: *\ncrawl-delay: 2\n":                                  2 * time.Second,
		"user-agent: *\ncrawl-delay: 0.5\n":                                500 * time.Millisecond,
		"user-agent: *\ncrawl-delay: soon\n":                               0,
		"user-agent: *\ncrawl-delay: -1\n":                                 0,
		"user-agent: *\ncrawl-delay: NaN\n":                                0,
		"user-agent: *\ncrawl-delay: 1e99\n":                               24 * time.Hour,
		"crawl-delay: 3\nuser-agent: *\n":                                  0,
		"user-agent: other\ncrawl-delay: 3\n":                              0,
		"user-agent: *\ncrawl-delay: 3\nuser-agent: me\ncrawl-delay: 1\n":  time.Second, // the nearest line
		"user-agent: *\ncrawl-delay: 3\nallow: /\nuser-agent: me\nallow:/": 0,
	} {
		if got := robots.Parse([]byte(file), "me").Delay(); got != want {
			t.Errorf("%q: %v, want %v", file, got, want)
		}
	}
}

func TestHugeAndHostileFiles(t *testing.T) {
	t.Parallel()
	deny := "user-agent: *\ndisallow: /x\n"
	padding := strings.Repeat("# padding\n", 5<<20/10)
	if robots.Parse([]byte(deny+padding), "").Allowed("/x") {
		t.Error("a rule within the first 500 KiB was not read")
	}
	if !robots.Parse([]byte(padding+deny), "").Allowed("/x") {
		t.Error("a rule behind 5 MB was read")
	}
	stars := "user-agent: *\ndisallow: /" + strings.Repeat("*a", 8000) + "\n"
	began := time.Now()
	if !robots.Parse([]byte(stars), "").Allowed("/" + strings.Repeat("a", 7000)) {
		t.Error("denied by a pattern that needs more")
	}
	if took := time.Since(began); took > 5*time.Second {
		t.Errorf("a pattern of stars took %v", took)
	}
	if robots.DenyAll().Allowed("/") || !robots.AllowAll().Allowed("/") || !robots.DenyAll().Allowed("/robots.txt") {
		t.Error("AllowAll and DenyAll do not do what they say")
	}
}

func FuzzParse(f *testing.F) {
	for _, tc := range cases {
		f.Add(tc.file, tc.agent, "/x/y")
	}
	f.Fuzz(func(t *testing.T, file, agent, path string) {
		rules := robots.Parse([]byte(file), agent)
		if got := rules.Allowed(path); got != rules.Allowed(path) {
			t.Error("asked twice, answered twice")
		}
		if !rules.Allowed("/robots.txt") {
			t.Error("robots.txt is denied")
		}
		if d := rules.Delay(); d < 0 || d > 24*time.Hour {
			t.Errorf("delay %v", d)
		}
	})
}
