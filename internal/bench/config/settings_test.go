package config_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// duration is time.Duration for encoding/json and so for cleanenv, which
// reads a duration from a JSON string by UnmarshalText only.
type duration time.Duration

func (d *duration) UnmarshalText(text []byte) error {
	v, err := time.ParseDuration(string(text))
	*d = duration(v)
	return err
}

// section has seven keys of the usual kinds.
type section[D ~int64] struct {
	Name    string   `koanf:"name" mapstructure:"name" yaml:"name" json:"name"`
	BaseURL string   `koanf:"base_url" mapstructure:"base_url" yaml:"base_url" json:"base_url"`
	Port    int      `koanf:"port" mapstructure:"port" yaml:"port" json:"port"`
	Timeout D        `koanf:"timeout" mapstructure:"timeout" yaml:"timeout" json:"timeout"`
	Enabled bool     `koanf:"enabled" mapstructure:"enabled" yaml:"enabled" json:"enabled"`
	Ratio   float64  `koanf:"ratio" mapstructure:"ratio" yaml:"ratio" json:"ratio"`
	Tags    []string `koanf:"tags" mapstructure:"tags" yaml:"tags" json:"tags"`
}

// settings has 105 keys: 15 sections of 7.
type settings[D ~int64] struct {
	API      section[D] `koanf:"api" mapstructure:"api" yaml:"api" json:"api"`
	Auth     section[D] `koanf:"auth" mapstructure:"auth" yaml:"auth" json:"auth"`
	Billing  section[D] `koanf:"billing" mapstructure:"billing" yaml:"billing" json:"billing"`
	Cache    section[D] `koanf:"cache" mapstructure:"cache" yaml:"cache" json:"cache"`
	Catalog  section[D] `koanf:"catalog" mapstructure:"catalog" yaml:"catalog" json:"catalog"`
	Export   section[D] `koanf:"export" mapstructure:"export" yaml:"export" json:"export"`
	Images   section[D] `koanf:"images" mapstructure:"images" yaml:"images" json:"images"`
	Logs     section[D] `koanf:"logs" mapstructure:"logs" yaml:"logs" json:"logs"`
	Mail     section[D] `koanf:"mail" mapstructure:"mail" yaml:"mail" json:"mail"`
	Orders   section[D] `koanf:"orders" mapstructure:"orders" yaml:"orders" json:"orders"`
	Payments section[D] `koanf:"payments" mapstructure:"payments" yaml:"payments" json:"payments"`
	Queue    section[D] `koanf:"queue" mapstructure:"queue" yaml:"queue" json:"queue"`
	Search   section[D] `koanf:"search" mapstructure:"search" yaml:"search" json:"search"`
	Stock    section[D] `koanf:"stock" mapstructure:"stock" yaml:"stock" json:"stock"`
	Users    section[D] `koanf:"users" mapstructure:"users" yaml:"users" json:"users"`
}

func (s *settings[D]) sections() []*section[D] {
	return []*section[D]{
		&s.API, &s.Auth, &s.Billing, &s.Cache, &s.Catalog, &s.Export, &s.Images, &s.Logs,
		&s.Mail, &s.Orders, &s.Payments, &s.Queue, &s.Search, &s.Stock, &s.Users,
	}
}

// plain returns s with time.Duration, to compare the results of all peers.
func plain[D ~int64](s *settings[D]) *settings[time.Duration] {
	var out settings[time.Duration]
	to := out.sections()
	for i, from := range s.sections() {
		*to[i] = section[time.Duration]{
			Name: from.Name, BaseURL: from.BaseURL, Port: from.Port, Timeout: time.Duration(from.Timeout),
			Enabled: from.Enabled, Ratio: from.Ratio, Tags: from.Tags,
		}
	}
	return &out
}

var names = strings.Fields(`api auth billing cache catalog export images logs
	mail orders payments queue search stock users`)

// want is what the files hold.
func want() *settings[time.Duration] {
	var s settings[time.Duration]
	for i, to := range s.sections() {
		*to = section[time.Duration]{
			Name:    names[i],
			BaseURL: "https://" + names[i] + ".example.com/v1",
			Port:    8000 + i,
			Timeout: time.Duration(i+1) * 1500 * time.Millisecond,
			Enabled: i%2 == 0,
			Ratio:   float64(i) + 0.25,
			Tags:    []string{"blue", "green", names[i]},
		}
	}
	return &s
}

// file writes the settings in a format, "yaml" or "json", and returns its path.
func file(t testing.TB, format string) string {
	t.Helper()
	var sb strings.Builder
	for i, s := range want().sections() {
		if format == "json" {
			sep := ","
			if i == 0 {
				sep = "{"
			}
			fmt.Fprintf(&sb, "%s\n  %q: {\n    \"name\": %q,\n    \"base_url\": %q,\n    \"port\": %d,\n    \"timeout\": %q,\n"+
				"    \"enabled\": %t,\n    \"ratio\": %g,\n    \"tags\": [%q, %q, %q]\n  }",
				sep, names[i], s.Name, s.BaseURL, s.Port, s.Timeout, s.Enabled, s.Ratio, s.Tags[0], s.Tags[1], s.Tags[2])
			continue
		}
		fmt.Fprintf(&sb, "%s:\n  name: %s\n  base_url: %s\n  port: %d\n  timeout: %s\n  enabled: %t\n  ratio: %g\n  tags: [%s]\n",
			names[i], s.Name, s.BaseURL, s.Port, s.Timeout, s.Enabled, s.Ratio, strings.Join(s.Tags, ", "))
	}
	if format == "json" {
		sb.WriteString("\n}\n")
	}
	path := filepath.Join(t.TempDir(), "settings."+format)
	if err := os.WriteFile(path, []byte(sb.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}
