package config_test

import (
	"encoding/json"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/santhosh-tekuri/jsonschema/v6"

	"github.com/svcblocks/svcblocks/config"
)

// everyType has a key of each type that settings can have.
type everyType struct {
	S      string `min:"1" max:"40"`
	Mode   string `oneof:"dev|prod|1"`
	Level  int    `oneof:"1|2|3"`
	N      int    `min:"-5" max:"1000000"`
	U      uint8
	F      float64 `min:"0.5"`
	B      bool
	D      time.Duration `min:"1s" default:"5s"`
	T      time.Time
	Size   config.Bytes
	Secret config.Secret `min:"4" max:"12"`
	URL    config.URL
	L      []string `min:"1"`
	LN     []int
	A      [2]int
	M      map[string]int `min:"1"`
	MM     map[string]map[string]bool
	Any    map[string]any
	P      *int
	Sub    struct{ X, Y int }
	PSub   *struct {
		X int `required:"true"`
	}
	Items []struct {
		Name string `required:"true"`
		N    int    `default:"7"`
	}
}

var pool = []any{
	nil, true, false, 0, 1, 2, -3, 7, 1000000, 5000000, 0.75, 1e21, "", "dev", "prod", "1", "2", "0x2", "5s", "0", " 5s ", "1.5h", "64MiB", "yes", "off",
	"ref+env://X", "https://h/x", "2024-05-27", ".inf", "nan", "some text", "a text that is longer than twelve letters",
	[]any{},
	[]any{"a"},
	[]any{1, nil},
	[]any{1, 2},
	map[string]any{},
	map[string]any{"a": 1},
	map[string]any{"a": nil},
	map[string]any{"x": 1, "y": "2"},
	map[string]any{"a": map[string]any{"b": true}},
	[]any{map[string]any{"name": "n"}},
	[]any{map[string]any{"name": "n", "n": "0x5"}},
	[]any{map[string]any{"n": 1}},
}

var keys = []string{"s", "mode", "level", "n", "u", "f", "b", "d", "t", "size", "secret", "url", "l", "ln", "a", "m", "mm", "any", "p", "sub", "p_sub", "items", "other"}

// TestSchemaAcceptsWhatLoadAccepts has an independent validator check each
// random document that Load accepts.
func TestSchemaAcceptsWhatLoadAccepts(t *testing.T) {
	text, err := config.Schema(everyType{})
	if err != nil {
		t.Fatal(err)
	}
	parsed, err := jsonschema.UnmarshalJSON(strings.NewReader(string(text)))
	if err != nil {
		t.Fatal(err)
	}
	compiler := jsonschema.NewCompiler()
	if err := compiler.AddResource("schema.json", parsed); err != nil {
		t.Fatal(err)
	}
	schema, err := compiler.Compile("schema.json")
	if err != nil {
		t.Fatal(err)
	}

	t.Setenv("X", "5")
	path := filepath.Join(t.TempDir(), "c.json")
	rng := rand.New(rand.NewPCG(1, 2))
	accepted, refused, both := 0, 0, 0
	check := func(document map[string]any) {
		data, err := json.Marshal(document)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
		_, loadErr := config.Load(t.Context(), everyType{}, config.File(path))
		value, err := jsonschema.UnmarshalJSON(strings.NewReader(string(data)))
		if err != nil {
			t.Fatal(err)
		}
		schemaErr := schema.Validate(value)
		switch {
		case loadErr == nil && schemaErr != nil:
			t.Errorf("Load accepts %s, the schema does not: %v", data, schemaErr)
		case loadErr == nil:
			accepted++
		case schemaErr != nil:
			both++
		default:
			refused++
		}
	}

	for _, key := range keys {
		for _, value := range pool {
			check(map[string]any{key: value})
		}
	}
	for range 2000 {
		document := map[string]any{}
		for range 1 + rng.IntN(3) {
			document[keys[rng.IntN(len(keys))]] = pool[rng.IntN(len(pool))]
		}
		check(document)
	}
	t.Logf("%d documents accepted by both, %d refused by both, %d by Load alone", accepted, both, refused)
}
