package house_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/svcblocks/svcblocks/internal/testenv"
)

// licences are those that code under the MIT licence may link: each asks for
// its notice alone. The patterns are words of their texts.
var licences = []struct {
	name string
	text *regexp.Regexp
}{
	{"Apache-2.0", regexp.MustCompile(`Apache License\s+Version 2\.0`)},
	{"MIT", regexp.MustCompile(`Permission is hereby granted, free of charge, to any\s+person\s+obtaining\s+a\s+copy`)},
	{"BSD", regexp.MustCompile(`Redistribution and use in source and binary forms, with or without\s+modification,\s+are\s+permitted`)},
	{"ISC", regexp.MustCompile(`Permission to use, copy, modify, and(/or)? distribute this software for any\s+purpose with or without fee is hereby granted`)},
	{"Unlicense", regexp.MustCompile(`This is free and unencumbered software released into the public domain`)},
}

// otherLicences are modules with another licence, and why they may be linked.
var otherLicences = map[string]string{
	"github.com/ajstarks/svgo":   "CC-BY-4.0; gonum's plotter draws with it, and examples/features says so",
	"github.com/golang/freetype": "FreeType or GPL-2.0-or-later; the first is taken, by gonum's plotter, and examples/features says so",
}

// TestLicences looks at what the programs and packages link, tests left out.
func TestLicences(t *testing.T) {
	t.Parallel()
	dir, _ := load(t)
	used := map[string]bool{}
	for _, module := range []string{".", "examples", "examples/ml", "examples/shopwatch/deploy"} {
		cmd := exec.Command("go", "list", "-deps", "-f", "{{with .Module}}{{.Path}}\t{{.Dir}}{{end}}\t{{.Dir}}", "./...")
		cmd.Dir, cmd.Stderr = filepath.Join(dir, module), os.Stderr
		cmd.Env = append(os.Environ(), "GOWORK=off")
		out, err := cmd.Output()
		if err != nil {
			t.Fatalf("%s: %v", module, err)
		}

		seen := map[string]bool{}
		for line := range strings.Lines(string(out)) {
			parts := strings.Split(strings.TrimSpace(line), "\t")
			if len(parts) != 3 || strings.HasPrefix(parts[0], "github.com/svcblocks/") || seen[parts[2]] {
				continue // the standard library, or ours
			}
			seen[parts[2]] = true
			path, root, folder := parts[0], parts[1], parts[2]
			if otherLicences[path] != "" {
				used[path] = true
				continue
			}
			if !licensed(t, root, folder) {
				t.Errorf("%s links %s, whose licence is none of those that MIT code may link without more: use something else, or say in otherLicences why it may be", module, path)
			}
		}
	}
	for path := range otherLicences {
		if !used[path] {
			t.Errorf("otherLicences names %s, which nothing links", path)
		}
	}
}

// licensed reports whether the licence next to folder, towards root, is a known
// one.
func licensed(t *testing.T, root, folder string) bool {
	t.Helper()
	for {
		entries, err := os.ReadDir(folder)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range entries {
			name := strings.ToUpper(e.Name())
			if e.IsDir() || filepath.Ext(name) == ".GO" || !strings.HasPrefix(name, "LICEN") && !strings.HasPrefix(name, "COPYING") && !strings.HasPrefix(name, "UNLICENSE") {
				continue
			}
			text, err := os.ReadFile(filepath.Join(folder, e.Name()))
			if err != nil {
				t.Fatal(err)
			}
			if slices.ContainsFunc(licences, func(l struct {
				name string
				text *regexp.Regexp
			},
			) bool {
				return l.text.Match(text)
			}) {
				return true
			}
		}
		if folder == root || len(folder) <= len(root) {
			return false
		}
		folder = filepath.Dir(folder)
	}
}

// TestNotices has each image of the samples hand on the notices of what its
// program links.
func TestNotices(t *testing.T) {
	t.Parallel()
	testenv.Shell(t)
	dir, _ := load(t)
	for program, folder := range map[string]string{"examples/shopwatch": "examples", "examples/fleet": "examples", "examples/service": "examples/service"} {
		file, err := os.ReadFile(filepath.Join(dir, program, "Dockerfile"))
		if err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(string(file), "notices.sh") {
			t.Errorf("the image of %s hands on no notices", program)
		}

		inside, err := filepath.Rel(folder, program)
		if err != nil {
			t.Fatal(err)
		}
		run := func(name string, args ...string) string {
			cmd := exec.Command(name, args...)
			cmd.Dir, cmd.Stderr = filepath.Join(dir, folder), os.Stderr
			cmd.Env = append(os.Environ(), "GOWORK=off")
			out, err := cmd.Output()
			if err != nil {
				t.Fatalf("%s %v: %v", name, args, err)
			}
			return string(out)
		}
		notices := run("sh", filepath.Join(dir, "examples", "notices.sh"), "./"+filepath.ToSlash(inside))
		for line := range strings.Lines("Go\n" + run("go", "list", "-deps", "-f", "{{with .Module}}{{if not .Main}}{{.Path}}{{end}}{{end}}", "./"+filepath.ToSlash(inside))) {
			if path := strings.TrimSpace(line); path != "" && !strings.Contains(notices, "==== "+path+" ") {
				t.Errorf("the notices of %s lack those of %s", program, path)
			}
		}
	}
}
