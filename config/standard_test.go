package config_test

import (
	"flag"
	"log/slog"
	"net"
	"net/netip"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
	"text/template"
	"time"

	"github.com/svcblocks/svcblocks/config"
)

// standard holds types of the standard library that have a text and no method
// which reads it.
type standard struct {
	Zone  *time.Location   `doc:"where days begin"`
	Home  *time.Location   `default:"Asia/Tokyo"`
	Zones []*time.Location `koanf:"zones"`
	Net   net.IPNet
	Inner *net.IPNet `default:"10.0.0.0/8"`
	Allow []*net.IPNet
	By    map[string]net.IPNet
	Sites []site
}

type site struct {
	Zone *time.Location `required:"true"`
	Net  *net.IPNet
}

func cidr(t *testing.T, text string) *net.IPNet {
	t.Helper()
	_, n, err := net.ParseCIDR(text)
	must(t, err)
	return n
}

func zone(t *testing.T, name string) *time.Location {
	t.Helper()
	z, err := time.LoadLocation(name)
	must(t, err)
	return z
}

func TestStandardTypesAreRead(t *testing.T) {
	t.Parallel()
	const file = `zone: Europe/Berlin # ours
zones: [UTC, Local]
net: 10.1.2.3/16
allow: [192.168.0.0/24, "fd00::/8"]
by: {lab: 0.0.0.0/0}
sites: [{zone: America/New_York, net: 127.0.0.0/31}]
`
	s := load(t, standard{}, config.File(write(t, t.TempDir(), "c.yaml", file)), config.Env("APP"),
		config.Environ("APP_BY={\"home\":\"::1/128\"}"))

	got := s.Get()
	for where, pair := range map[string][2]string{
		"zone":  {got.Zone.String(), "Europe/Berlin"},
		"home":  {got.Home.String(), "Asia/Tokyo"},
		"utc":   {got.Zones[0].String(), "UTC"},
		"inner": {got.Inner.String(), "10.0.0.0/8"},
		"site":  {got.Sites[0].Zone.String(), "America/New_York"},
	} {
		if pair[0] != pair[1] {
			t.Errorf("%s is %s, want %s", where, pair[0], pair[1])
		}
	}
	if got.Zones[1] != time.Local {
		t.Error("Local is another zone than time.Local")
	}
	for text, n := range map[string]net.IPNet{
		"10.1.0.0/16": got.Net, "192.168.0.0/24": *got.Allow[0], "fd00::/8": *got.Allow[1],
		"0.0.0.0/0": got.By["lab"], "::1/128": got.By["home"], "127.0.0.0/31": *got.Sites[0].Net,
	} {
		if want := *cidr(t, text); !reflect.DeepEqual(n, want) {
			t.Errorf("%#v, want %#v", n, want)
		}
	}
	if e, _ := s.Explain().Find("zone"); e.Value != "Europe/Berlin" || e.Origin.Line != 1 {
		t.Errorf("Explain: %+v", e)
	}
}

func TestStandardTypesAreChecked(t *testing.T) {
	t.Parallel()
	for file, want := range map[string]string{
		"zone: Europe/Berln\n":               `c.yaml:1:7: zone: got "Europe/Berln", want a time zone, such as Europe/Berlin, UTC or Local (no time zone has this name)`,
		"zone: ''\n":                         "a time zone has a name",
		"zone: ../../etc/passwd\n":           "no time zone has this name",
		"zone: {a: b}\n":                     "zone: got a section, want a time zone",
		"net: 10.0.0.1\n":                    `net: got "10.0.0.1", want a network, such as 10.0.0.0/8 or fd00::/8 (want an address, a slash and the number of bits)`,
		"net: 10.0.0.0/33\n":                 "want a network",
		"net: 10.0.0.0/255.0.0.0\n":          "want a network",
		"sites: [{net: 10.0.0.0/8}]\n":       "sites[0].zone: required",
		"sites: [{zone: null}]\n":            "sites[0].zone: required",
		"allow: [10.0.0.0/8, nonsense]\n":    `allow[1]: got "nonsense", want a network`,
		"by: {a: nonsense}\n":                `by.a: got "nonsense", want a network`,
		"sites: [{zone: UTC, net: '1/2'}]\n": "sites[0].net: got",
	} {
		_, err := config.Load(t.Context(), standard{}, config.File(write(t, t.TempDir(), "c.yaml", file)))
		wantText(t, err, want)
	}
}

// TestStandardTypesNull holds that null is none, as for any pointer.
func TestStandardTypesNull(t *testing.T) {
	t.Parallel()
	s := load(t, standard{Zone: time.UTC, Net: *cidr(t, "10.0.0.0/8")}, config.File(write(t, t.TempDir(), "c.yaml", "zone: null\nnet: null\n")))
	if got := s.Get(); got.Zone != nil || got.Net.String() != "10.0.0.0/8" {
		t.Errorf("got %v and %v", got.Zone, got.Net)
	}
}

func TestStandardTypesAreWritten(t *testing.T) {
	t.Parallel()
	const before = "zone: Europe/Berlin # ours\nallow:\n  - 10.0.0.0/8 # the plant\n  - 192.168.0.0/24 # guests\n"
	path := write(t, t.TempDir(), "c.yaml", before)
	s := load(t, standard{}, config.File(path, config.Writable()))

	must(t, s.Update(t.Context(), func(c *standard) error {
		c.Zone = zone(t, "Europe/Berlin") // another pointer to the same
		c.Allow[0].IP = c.Allow[0].IP.To16()
		c.Allow[0].Mask = net.CIDRMask(104, 128)
		return nil
	}))
	if got := readText(t, path); got != before {
		t.Errorf("an equal value was written:\n%s", got)
	}

	must(t, s.Update(t.Context(), func(c *standard) error {
		c.Zone = time.UTC
		c.Allow[1].IP[2] = 7
		c.By = map[string]net.IPNet{"v6": *cidr(t, "fd00::/8")}
		c.Sites = []site{{Zone: zone(t, "Asia/Tokyo"), Net: cidr(t, "10.9.0.0/16")}}
		return nil
	}))
	want := "zone: UTC # ours\nallow:\n  - 10.0.0.0/8 # the plant\n  - \"192.168.7.0/24\" # guests\nby:\n  v6: fd00::/8\n" +
		"sites:\n  - zone: Asia/Tokyo\n    net: \"10.9.0.0/16\"\n"
	if got := readText(t, path); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	must(t, s.Set(t.Context(), "sites[0].zone", "Local"))
	must(t, s.Set(t.Context(), "inner", "172.16.0.0/12"))
	if got := s.Get(); got.Sites[0].Zone != time.Local || got.Inner.String() != "172.16.0.0/12" {
		t.Errorf("after Set: %v, %v", got.Sites[0].Zone, got.Inner)
	}
}

// TestStandardTypesAllOrNothing changes what lies behind the pointers in an
// Update that fails.
func TestStandardTypesAllOrNothing(t *testing.T) {
	t.Parallel()
	def := standard{Inner: cidr(t, "10.0.0.0/8")}
	path := write(t, t.TempDir(), "c.yaml", "allow: [10.0.0.0/8]\n")
	s := load(t, def, config.File(path, config.Writable()))

	for want, change := range map[string]func(*standard){
		"no text that a file could hold: want a time zone": func(c *standard) { c.Zone = time.FixedZone("CET", 7200) },
		"no text that a file could hold: want a network":   func(c *standard) { c.Net = net.IPNet{IP: net.IP{10, 0, 0, 0}, Mask: net.IPMask{255, 0, 255, 0}} },
		"net: a net.IPNet has no text":                     func(c *standard) { c.Net = net.IPNet{IP: net.IP{10, 0, 0, 1}, Mask: net.IPMask{255, 0, 0, 0}} },
	} {
		err := s.Update(t.Context(), func(c *standard) error {
			c.Inner.IP[0], c.Allow[0].Mask[1] = 99, 255
			change(c)
			return nil
		})
		wantText(t, err, want)
	}
	if got := s.Get(); got.Inner.String() != "10.0.0.0/8" || got.Allow[0].String() != "10.0.0.0/8" || def.Inner.String() != "10.0.0.0/8" {
		t.Errorf("a failed Update changed %v, %v or the defaults, %v", got.Inner, got.Allow[0], def.Inner)
	}
}

func TestStandardTypesAreShown(t *testing.T) {
	t.Parallel()
	fs := flag.NewFlagSet("x", flag.ContinueOnError)
	var usage strings.Builder
	fs.SetOutput(&usage)
	config.DefineFlags(fs, standard{})
	fs.PrintDefaults()
	must(t, fs.Parse([]string{"-zone", "UTC"}))
	if s := load(t, standard{}, config.Flags(fs)); s.Get().Zone != time.UTC {
		t.Errorf("by flag: %v", s.Get().Zone)
	}

	doc, err := config.Doc(standard{})
	must(t, err)
	schema, err := config.Schema(standard{})
	must(t, err)
	example, err := config.EnvExample(standard{}, config.Env("APP"))
	must(t, err)
	for where, want := range map[string][]string{
		usage.String(): {"-zone zone\n    \twhere days begin: zone", "-inner network\n    \tnetwork (default 10.0.0.0/8)", "(default Asia/Tokyo)"},
		doc:            {"| `zone` | a time zone, such as Europe/Berlin, UTC or Local |  | where days begin |", "`sites[].net`", "`Asia/Tokyo`"},
		string(schema): {`"default": "Asia/Tokyo"`, `"default": "10.0.0.0/8"`},
		example:        {"# a network, such as 10.0.0.0/8 or fd00::/8\n# APP_INNER=10.0.0.0/8", "APP_HOME=Asia/Tokyo"},
	} {
		for _, text := range want {
			if !strings.Contains(where, text) {
				t.Errorf("no %q in\n%s", text, where)
			}
		}
	}
}

// TestKnownTypesInWords says what the types of the standard library want, that
// read themselves.
func TestKnownTypesInWords(t *testing.T) {
	t.Parallel()
	type settings struct {
		Level *slog.LevelVar
		Low   slog.Level
		Match regexp.Regexp
		Addr  netip.Addr
		Bind  netip.AddrPort
		Net   []netip.Prefix
	}
	for file, want := range map[string]string{
		"level: warning\n": `level: got "warning", want a level: DEBUG, INFO, WARN or ERROR`,
		"low: warning\n":   "want a level: DEBUG, INFO, WARN or ERROR",
		"match: (\n":       "want a regular expression (error parsing regexp",
		"addr: x\n":        "want an address, such as 192.0.2.1",
		"bind: \":80\"\n":  "want an address and port, such as",
		"net: [x]\n":       "net[0]: got \"x\", want a network, such as 10.0.0.0/8",
	} {
		_, err := config.Load(t.Context(), settings{}, config.File(write(t, t.TempDir(), "c.yaml", file)))
		wantText(t, err, want)
	}
}

// TestUnreadableTypesAreNamed sets fields whose types no text can make, by every
// layer and in a list.
func TestUnreadableTypesAreNamed(t *testing.T) {
	t.Parallel()
	type part struct {
		Body *template.Template
		N    int
	}
	type settings struct {
		Body  *template.Template
		Mac   net.HardwareAddr
		Part  part
		Parts []part
		Pw    config.Secret
	}
	file := func(text string) config.Option { return config.File(write(t, t.TempDir(), "c.yaml", text)) }
	dir := t.TempDir()
	write(t, dir, "part_body", "x")

	for want, layers := range map[string][]config.Option{
		"c.yaml:1:1: body: unknown key (its field Body has type *template.Template, which cannot be read from text)": {file("body: x\n")},
		"mac: unknown key (its field Mac has type net.HardwareAddr":                                                  {file("mac: 00:00:5e:00:53:01\n")},
		"part.body: unknown key (its field Body":                                                                     {file("part: {body: x}\n")},
		"parts[0].body: unknown key (its field Body":                                                                 {file("parts: [{body: x}]\n")},
		"env APP_PART_BODY: unknown variable (its field Body":                                                        {config.Env("APP"), config.Environ("APP_PART_BODY=x")},
		"part_body: the file is no key (its field Body":                                                              {config.SecretsDir(dir)},
	} {
		_, err := config.Load(t.Context(), settings{}, layers...)
		wantText(t, err, want)
	}
	s := load(t, settings{}, config.File(write(t, t.TempDir(), "c.yaml", ""), config.Writable()))
	wantText(t, s.Set(t.Context(), "body", "x"), "unknown key (its field Body has type")
}

// TestSourceGivesValuesOfPointerMethods reads types whose texts are methods of
// their pointers.
func TestSourceGivesValuesOfPointerMethods(t *testing.T) {
	t.Parallel()
	type settings struct {
		Net  net.IPNet
		Nets []net.IPNet
	}
	n := *cidr(t, "10.0.0.0/8")
	s := load(t, settings{}, config.Source("m", mapProvider(func() map[string]any { return map[string]any{"net": n, "nets": []any{n, &n}} }), nil))
	if got := s.Get(); got.Net.String() != "10.0.0.0/8" || !slices.EqualFunc(got.Nets, []net.IPNet{n, n}, func(a, b net.IPNet) bool { return a.String() == b.String() }) {
		t.Errorf("got %v", got)
	}
}
