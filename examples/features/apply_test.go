package main

import (
	"bytes"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// applied returns the lines of rows.csv without their names, sorted.
func applied(t *testing.T, args ...string) []string {
	t.Helper()
	out := t.TempDir()
	if err := run(append(args, "-out", out), io.Discard, io.Discard); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(filepath.Join(out, "rows.csv"))
	if err != nil {
		t.Fatal(err)
	}
	var lines []string
	for line := range strings.Lines(string(text)) {
		_, features, _ := strings.Cut(line, ",")
		lines = append(lines, features)
	}
	slices.Sort(lines)
	return lines
}

// A row of tomorrow has the features that it would have had among those of the
// training and the test, whatever rows come with it.
func TestApply(t *testing.T) {
	t.Parallel()
	lots, estates := data(1, 400)
	in, learned := gathered(t, lots, estates), t.TempDir()
	if err := run([]string{"-in", in, "-out", learned}, io.Discard, io.Discard); err != nil {
		t.Fatal(err)
	}
	var want []string
	for _, name := range []string{"train.csv", "test.csv"} {
		text, err := os.ReadFile(filepath.Join(learned, name))
		if err != nil {
			t.Fatal(err)
		}
		want = slices.AppendSeq(want, strings.Lines(string(text)))
	}
	slices.Sort(want)
	want = slices.Compact(want)

	got := applied(t, "-apply", learned, "-in", in)
	if got := slices.Compact(slices.Clone(got)); !slices.Equal(got, want) {
		t.Errorf("%d lines, want the %d of train.csv and test.csv", len(got), len(want))
	}
	alone := applied(t, "-apply", learned, "-in", gathered(t, lots[:1], estates))
	if len(alone) != 2 || !slices.Contains(got, alone[0]) || !slices.Contains(got, alone[1]) {
		t.Errorf("a row by itself comes out as %q", alone)
	}
}

func TestApplyMistakes(t *testing.T) {
	t.Parallel()
	lots, estates := data(1, 100)
	in, learned := gathered(t, lots, estates), t.TempDir()
	if err := run([]string{"-in", in, "-out", learned}, io.Discard, io.Discard); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(filepath.Join(learned, "features.json"))
	if err != nil {
		t.Fatal(err)
	}
	changed := func(old, now string) string {
		dir := t.TempDir()
		if !bytes.Contains(text, []byte(old)) {
			t.Fatalf("%q is not in features.json", old)
		}
		if err := os.WriteFile(filepath.Join(dir, "features.json"), bytes.Replace(text, []byte(old), []byte(now), 1), 0o600); err != nil {
			t.Fatal(err)
		}
		return dir
	}

	for want, args := range map[string][]string{
		"an earlier run wrote":                {"-apply", t.TempDir()},
		"-seed and -test: with -apply":        {"-apply", learned, "-seed", "2", "-test", "0.1"},
		"version 2, this program writes 1":    {"-apply", changed(`"version": 1`, `"version": 2`)},
		"moisture was not learned":            {"-apply", changed(`"deviation": `, `"deviation": -`)},
		"this program makes":                  {"-apply", changed(`"name": "aroma"`, `"name": "scent"`)},
		"do not follow from what was learned": {"-apply", changed(`"grade=whole_leaf"`, `"grade=half_leaf"`)},
		`unknown field "titel"`:               {"-apply", changed(`"label"`, `"titel"`)},
		"unexpected EOF":                      {"-apply", changed(string(text[len(text)/2:]), "")},
	} {
		out := t.TempDir()
		err := run(append(args, "-in", in, "-out", out), io.Discard, io.Discard)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("features %q: %v, want %q", args, err, want)
		}
		if left, _ := os.ReadDir(out); len(left) > 0 {
			t.Errorf("features %q left %v", args, left)
		}
	}
}
