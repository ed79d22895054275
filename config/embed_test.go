package config_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/svcblocks/svcblocks/config"
)

// Common is embedded by pointer, base by value and without being exported.
type Common struct {
	Region string
	Tags   map[string]string
}

type base struct {
	Name  string
	Limit int `min:"1"`
}

func (b *base) Validate() error {
	if b.Name == "forbidden" {
		return errors.New("the name is forbidden")
	}
	return nil
}

type server struct {
	Host  string `required:"true"`
	Ports []int
	Token config.Secret
}

func (s server) Validate() error {
	if strings.HasPrefix(s.Host, "bad") {
		return errors.New("a bad host")
	}
	return nil
}

type embedding struct {
	*Common
	base
	Servers map[string]server
	Pool    []server
	Main    *server
}

func TestEmbedded(t *testing.T) {
	t.Parallel()
	path := write(t, t.TempDir(), "s.yaml", "# top\nregion: eu\nname: n # x\nservers:\n  a: {host: h, ports: [1]}\npool:\n  - host: p # one\n    ports: [1, 2]\n")
	def := embedding{base: base{Limit: 3}, Servers: map[string]server{"z": {Host: "default", Ports: []int{9}}}}
	s := load(t, def, config.File(path, config.Writable()), config.Env("APP"),
		config.Environ(`APP_SERVERS={"a":{"ports":[7]},"b":{"host":"env"},"z":{"ports":[8]}}`, `APP_TAGS={"k":"v"}`))
	got := s.Get()
	if got.Region != "eu" || got.Name != "n" || got.Limit != 3 || got.Tags["k"] != "v" || got.Main != nil {
		t.Errorf("settings %+v %+v", got, got.Common)
	}
	if a := got.Servers["a"]; a.Host != "h" || len(a.Ports) != 1 || a.Ports[0] != 7 {
		t.Errorf("server a is %+v, want host h of the file and port 7 of the variable", a)
	}
	if z := got.Servers["z"]; z.Host != "default" || z.Ports[0] != 8 || got.Servers["b"].Host != "env" {
		t.Errorf("servers %+v", got.Servers)
	}
	if def.Servers["z"].Ports[0] != 9 {
		t.Error("the default was changed")
	}
	must(t, s.Update(t.Context(), func(v *embedding) error {
		v.Limit, v.Region, v.Main = 5, "us", &server{Host: "m"}
		v.Pool[0].Ports = append(v.Pool[0].Ports, 3)
		v.Pool = append(v.Pool, server{Host: "q"})
		return nil
	}))
	want := "# top\nregion: us\nname: n # x\nservers:\n  a: {host: h, ports: [1]}\npool:\n  - host: p # one\n    ports: [1, 2, 3]\n  - host: q\nlimit: 5\nmain:\n  host: m\n"
	if text := readAll(t, path); text != want {
		t.Errorf("file:\n%s\nwant:\n%s", text, want)
	}
	again := load(t, def, config.File(path))
	if again.Get().Limit != 5 || again.Get().Main.Host != "m" || len(again.Get().Pool) != 2 {
		t.Errorf("read again: %+v", again.Get())
	}
	// A value that a variable gives is not changed in the file.
	err := s.Update(t.Context(), func(v *embedding) error {
		a := v.Servers["a"]
		a.Ports = []int{1}
		v.Servers["a"] = a
		return nil
	})
	var overridden *config.OverriddenError
	if !errors.As(err, &overridden) || overridden.Key != "servers.a.ports" {
		t.Errorf("changing what APP_SERVERS sets: %v", err)
	}
}

func TestValidateEverywhere(t *testing.T) {
	t.Parallel()
	for document, want := range map[string]string{
		"name: forbidden\nlimit: 1\n":                  "the name is forbidden",
		"limit: 1\nservers:\n  a:\n    host: bad\n":    "s.yaml:3:3: servers.a: a bad host",
		"limit: 1\npool: [{host: bad1}, {host: ok}]\n": "pool[0]: a bad host",
		"limit: 1\nmain: {host: bad}\n":                "s.yaml:2:1: main: a bad host",
		"limit: 1\nmain: {ports: [1]}\n":               "main.host: required",
		"limit: 1\nservers: {a: {ports: [1]}}\n":       "s.yaml:2:14: servers.a.host: required, but not set",
		"limit: 1\nservers: {a: {host: h, port: 1}}\n": `s.yaml:2:24: servers.a.port: unknown key (did you mean "ports"?)`,
		"limit: 1\npool: [{host: h, ports: [x]}]\n":    `s.yaml:2:26: pool[0].ports[0]: got "x", want a whole number`,
		"limit: 0\n": "s.yaml:1:8: limit: got 0, want at least 1",
		"limit: 1\nmain: {host: h, token: [canary-x]}\n":  "main.token: got a list",
		"limit: 1\nservers: [1]\n":                        "servers: got a list, want a section",
		"limit: 1\nservers: {a: ref+env://NOTHING}\n":     "cannot resolve ref+env://NOTHING",
		"limit: 1\npool:\n- host: h\n  token: {x: y}\n":   "s.yaml:4:10: pool[0].token: got a section",
		"limit: 1\nmain:\n  host: h\n  host: i\n":         "s.yaml:4:3: main.host: duplicate key: first set on line 3",
		"limit: 1\nservers: {a: {host: h}, a: {host: i}}": "servers.a: duplicate key",
	} {
		dir := t.TempDir()
		_, err := config.Load(t.Context(), embedding{}, config.File(write(t, dir, "s.yaml", document)), config.Environ())
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v\nwant %q", document, err, want)
		}
	}
}
