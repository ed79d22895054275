package doc_test

import (
	"fmt"
	"runtime"
	"runtime/debug"
	"strings"
	"testing"
	"time"

	"github.com/svcblocks/svcblocks/config/internal/doc"
	"github.com/svcblocks/svcblocks/internal/testenv"
)

// fill repeats a text up to size bytes; each gets the number of the repetition.
func fill(size int, each func(i int) string) string {
	var b strings.Builder
	for i := 0; b.Len() < size; i++ {
		b.WriteString(each(i))
	}
	return b.String()
}

// TestBounds reads documents of the largest size that a file may have, of any
// nesting and any number of keys: each gives an error or a tree, and the tree of
// what is not refused is small.
func TestBounds(t *testing.T) {
	testenv.Slow(t)
	size := 16<<20 - 4096
	if !testenv.Soak() {
		size = 1 << 19
	}
	same := func(text string) func(int) string { return func(int) string { return text } }
	for _, tc := range []struct {
		name   string
		format doc.Format
		text   func() string
	}{
		{"json lists", doc.JSON, func() string { return `{"a":` + fill(size, same("[")) }},
		{"json maps", doc.JSON, func() string { return fill(size, same(`{"a":`)) }},
		{"json keys", doc.JSON, func() string {
			return "{" + fill(size, func(i int) string { return fmt.Sprintf(`"k%d":1,`, i) }) + `"z":1}`
		}},
		{"json the same key", doc.JSON, func() string { return "{" + fill(size, same(`"k":1,`)) + `"z":1}` }},
		{"json numbers", doc.JSON, func() string { return `{"a":[` + fill(size, same("1,")) + "1]}" }},
		{"json wide letters", doc.JSON, func() string { return `{"a":["` + fill(size, same("ü")) + `"]}` }},
		{"json one string", doc.JSON, func() string { return `{"a":"` + fill(size, same("x")) + `"}` }},
		{"jsonc comments", doc.JSONC, func() string { return fill(size, same("/**/ //\n")) + "{}" }},
		{"yaml lists", doc.YAML, func() string { return "a: " + fill(size, same("[")) }},
		{"yaml maps", doc.YAML, func() string { return "a: " + fill(size, same("{a: ")) }},
		{"yaml dashes", doc.YAML, func() string { return "a:\n " + fill(size, same("- ")) }},
		{"yaml keys", doc.YAML, func() string { return fill(size, func(i int) string { return fmt.Sprintf("k%d: 1\n", i) }) }},
		{"yaml short keys", doc.YAML, func() string { return fill(size, same("k:\n")) }},
		{"yaml items", doc.YAML, func() string { return "a:\n" + fill(size, same("-\n")) }},
		{"yaml flow items", doc.YAML, func() string { return "a: [" + fill(size, same("1,")) + "1]\n" }},
		{"yaml question marks", doc.YAML, func() string { return fill(size, same("? ")) }},
		{"yaml text", doc.YAML, func() string { return "a: |\n" + fill(size, same("  some text, and more: of it\n")) }},
		{"yaml one line", doc.YAML, func() string { return "a: " + fill(size, same("x ")) + "\n" }},
		{"yaml anchors", doc.YAML, func() string {
			return "a: [" + fill(size, func(i int) string { return fmt.Sprintf("&a%d x,", i) }) + "y]\n"
		}},
		{"yaml indents", doc.YAML, func() string {
			return fill(size, func(i int) string { return strings.Repeat(" ", i) + "a:\n" })
		}},
		{"yaml colons", doc.YAML, func() string { return "a: {" + fill(size, same("a:b:,")) + "}\n" }},
		{"yaml tags", doc.YAML, func() string { return "a: [" + fill(size, same("!!str x,")) + "]\n" }},
		{"yaml open quote", doc.YAML, func() string { return `a: "` + fill(size, same("x\n ")) }},
		{"yaml comments", doc.YAML, func() string { return fill(size, same("# x\n")) }},
		{"toml lists", doc.TOML, func() string { return "a = " + fill(size, same("[")) }},
		{"toml tables", doc.TOML, func() string { return "a = " + fill(size, same("{a=")) }},
		{"toml dots", doc.TOML, func() string { return fill(size, same("a.")) + "b = 1\n" }},
		{"toml many dots", doc.TOML, func() string {
			return fill(size, func(i int) string { return strings.Repeat(fmt.Sprintf("a%d.", i), 100) + "b = 1\n" })
		}},
		{"toml header of dots", doc.TOML, func() string { return "[" + fill(size, same("a.")) + "b]\n" }},
		{"toml keys", doc.TOML, func() string { return fill(size, func(i int) string { return fmt.Sprintf("k%d=1\n", i) }) }},
		{"toml the same key", doc.TOML, func() string { return fill(size, same("k=1\n")) }},
		{"toml headers", doc.TOML, func() string { return fill(size, func(i int) string { return fmt.Sprintf("[k%d]\n", i) }) }},
		{"toml arrays of tables", doc.TOML, func() string { return fill(size, same("[[k]]\n")) }},
		{"toml items", doc.TOML, func() string { return "a = [" + fill(size, same("1,")) + "]\n" }},
		{"toml inline keys", doc.TOML, func() string {
			return "a = {" + fill(size, func(i int) string { return fmt.Sprintf("k%d=1,", i) }) + "z=1}\n"
		}},
		{"toml comment to the end", doc.TOML, func() string { return "a = 1 #" }},
		{"toml open string", doc.TOML, func() string { return "a = \"\"\"" + fill(size, same("x\n")) }},
	} {
		t.Run(tc.name, func(t *testing.T) {
			data := []byte(tc.text())
			debug.FreeOSMemory()
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			began := time.Now()
			root, mistakes := doc.Parse(tc.format, data, nil)
			took := time.Since(began)
			runtime.ReadMemStats(&after)
			said := ""
			if len(mistakes) > 0 {
				said = mistakes[0].Error()
			}
			if len(mistakes) > 102 || len(said) > 500 {
				t.Errorf("%d mistakes, the first of %d bytes", len(mistakes), len(said))
			}
			t.Logf("%s, %d MB of heap, %d MB allocated, a tree: %v, %d mistakes: %.120s", took.Round(time.Millisecond),
				(after.HeapSys-after.HeapReleased)>>20, (after.TotalAlloc-before.TotalAlloc)>>20, root != nil, len(mistakes), said)
		})
	}
}
