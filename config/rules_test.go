package config_test

import (
	"strings"
	"testing"
	"time"

	"github.com/svcblocks/svcblocks/config"
)

func TestRules(t *testing.T) {
	t.Parallel()
	type settings struct {
		Int    int           `min:"-1" max:"0x10"`
		Uint   uint8         `max:"3"`
		Float  float64       `max:"0.5"`
		Dur    time.Duration `min:"1s" max:"1m"`
		Size   config.Bytes  `min:"1KiB"`
		Text   string        `min:"2" max:"3"`
		Secret config.Secret `min:"3"`
		List   []string      `max:"2" oneof:"a|b"`
		Map    map[string]int
		Ptr    *int   `min:"2"`
		Mode   string `oneof:"x|y"`
	}
	for text, want := range map[string]string{
		"int: -2":        "got -2, want from -1 to 0x10",
		"int: 17":        "got 17, want from -1 to 0x10",
		"uint: 4":        "got 4, want at most 3",
		"float: 0.6":     "got 0.6, want at most 0.5",
		"float: .nan":    "got NaN, want at most 0.5",
		"dur: 61s":       "got 1m1s, want from 1s to 1m",
		"size: 1000":     `got "1KB", want at least 1KiB`,
		"text: a":        `got "a", want a length from 2 to 3`,
		"text: äöüß":     `got "äöüß", want a length from 2 to 3`,
		"secret: ab":     "got [redacted], want a length of at least 3",
		"list: [a, b,a]": "got [a, b, a], want a number of items of at most 2",
		"list: [c]":      "got [c], want one of a, b",
		"ptr: 1":         "got 1, want at least 2",
		"mode: z":        `got "z", want one of x, y`,
		"int: 0":         "", "text: äöü": "", "float: -1": "", "dur: 0": "got 0s, want from 1s to 1m", "ptr: null": "", "size: 1KiB": "", "mode: ''": `got "", want one of x, y`,
	} {
		_, err := config.Load(t.Context(), settings{}, config.File(write(t, t.TempDir(), "s.yaml", text+"\n")))
		if (err == nil) != (want == "") || err != nil && !strings.HasSuffix(err.Error(), want) {
			t.Errorf("%s: %v, want %q", text, err, want)
		}
	}
	// A default is checked as well, but zero stands for "not set".
	if _, err := config.Load(t.Context(), settings{Int: 100}); err == nil || !strings.Contains(err.Error(), "default: int: got 100") {
		t.Errorf("a default out of range: %v", err)
	}
}
