package dataset_test

import (
	"errors"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/svcblocks/svcblocks/examples/ml/internal/dataset"
)

// folder writes a folder of features, with some files replaced.
func folder(t *testing.T, replace map[string]string) string {
	t.Helper()
	files := map[string]string{
		"features.json": `{"version":1,"seed":1,"label":"accepted","classes":["no","yes"],"features":["moisture","grade=whole"],"train_rows":2,"test_rows":1,"numeric":[],"categories":[]}`,
		"train.csv":     "moisture,grade=whole,label\n-0.25,1,0\n1e-3,0,1\n",
		"test.csv":      "moisture,grade=whole,label\n2,1,1\n",
	}
	maps.Copy(files, replace)
	dir := t.TempDir()
	for name, text := range files {
		if text == "" {
			continue
		}
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func TestRead(t *testing.T) {
	t.Parallel()
	got, err := dataset.Read(folder(t, nil))
	if err != nil {
		t.Fatal(err)
	}
	want := &dataset.Data{
		Features: []string{"moisture", "grade=whole"}, Classes: []string{"no", "yes"},
		Fingerprint: "3bd01f66521c87309d1aeb0226b765739b12d6bb8544301274689fc9048ca19a", // of the text of features.json
		Train:       dataset.Table{X: [][]float32{{-0.25, 1}, {1e-3, 0}}, Y: []int32{0, 1}},
		Test:        dataset.Table{X: [][]float32{{2, 1}}, Y: []int32{1}},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("Read (-want +got):\n%s", diff)
	}
}

func TestReadErrors(t *testing.T) {
	t.Parallel()
	header := "moisture,grade=whole,label\n"
	for _, tt := range []struct {
		name, file, text string
		want             string
	}{
		{"no description", "features.json", "", "examples/features"},
		{"no table", "test.csv", "", "test.csv"},
		{"description is no JSON", "features.json", "{", "features.json"},
		{"one class", "features.json", `{"classes":["no"],"features":["moisture","grade=whole"]}`, "two at least"},
		{"no features", "features.json", `{"classes":["no","yes"]}`, "names none"},
		{"a feature twice", "features.json", `{"classes":["no","yes"],"features":["moisture","moisture"]}`, "twice"},
		{"empty", "train.csv", "\n", "header"},
		{"no rows", "train.csv", header, "no rows"},
		{"another order", "train.csv", "grade=whole,moisture,label\n1,1,1\n", "line 1"},
		{"a column less", "train.csv", "moisture,label\n1,1\n", "line 1"},
		{"a value less", "train.csv", header + "1,0,1\n1,0\n", "line 3"},
		{"no number", "train.csv", header + "1,0,1\ndry,0,1\n", `line 3: moisture is "dry"`},
		{"not finite", "train.csv", header + "NaN,0,1\n", "line 2: moisture"},
		{"beyond 32 bits", "train.csv", header + "1e39,0,1\n", "line 2: moisture"},
		{"empty value", "train.csv", header + ",0,1\n", "line 2: moisture"},
		{"an unknown class", "test.csv", header + "1,0,2\n", `test.csv: not a table of features: line 2: label is "2", want 0 to 1`},
		{"a negative class", "test.csv", header + "1,0,-1\n", "line 2: label"},
		{"a quote that does not end", "test.csv", header + "\"1,0,1\n", "line"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			_, err := dataset.Read(folder(t, map[string]string{tt.file: tt.text}))
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Fatalf("error %v, want one with %q", err, tt.want)
			}
			if tt.text == "" {
				if !errors.Is(err, fs.ErrNotExist) {
					t.Errorf("%v is not fs.ErrNotExist", err)
				}
			} else if !errors.Is(err, dataset.ErrFormat) {
				t.Errorf("%v is not ErrFormat", err)
			}
		})
	}
}

func TestGenerate(t *testing.T) {
	t.Parallel()
	d := dataset.Generate(4000, 1)
	if d.Train.Len() != 3200 || d.Test.Len() != 800 {
		t.Fatalf("%d and %d rows, want 3200 and 800", d.Train.Len(), d.Test.Len())
	}
	yes := 0
	for i, row := range d.Train.X {
		if len(row) != len(d.Features) {
			t.Fatalf("row %d has %d values", i, len(row))
		}
		yes += int(d.Train.Y[i])
	}
	if share := float64(yes) / 3200; share < 0.4 || share > 0.6 {
		t.Errorf("%.2f of the rows are yes, want about half", share)
	}
	if diff := cmp.Diff(dataset.Generate(50, 1), dataset.Generate(50, 1)); diff != "" {
		t.Errorf("the same seed made other data:\n%s", diff)
	}
	if cmp.Equal(dataset.Generate(50, 1), dataset.Generate(50, 2)) {
		t.Error("another seed made the same data")
	}
}

// A model is measured against who says the same to everything, and rows of one
// class teach nothing.
func TestMajority(t *testing.T) {
	t.Parallel()
	d := &dataset.Data{
		Classes: []string{"bad", "fine"},
		Train:   dataset.Table{X: make([][]float32, 3), Y: []int32{1, 0, 1}},
		Test:    dataset.Table{X: make([][]float32, 4), Y: []int32{1, 0, 0, 0}},
	}
	if class, share, err := d.Majority(); class != "fine" || share != 0.25 || err != nil {
		t.Errorf("%q %v %v", class, share, err)
	}
	d.Train.Y = []int32{1, 1, 1}
	if _, _, err := d.Majority(); err == nil || !strings.Contains(err.Error(), `all 3 rows for training are "fine"`) {
		t.Errorf("one class: %v", err)
	}
}

func FuzzRead(f *testing.F) {
	f.Add("moisture,grade=whole,label\n-0.25,1,0\n")
	f.Add("moisture,grade=whole,label\n\"1\",1,0\r\n")
	f.Fuzz(func(t *testing.T, text string) {
		if text == "" {
			return
		}
		d, err := dataset.Read(folder(t, map[string]string{"train.csv": text}))
		if err != nil {
			return
		}
		for i, row := range d.Train.X {
			if len(row) != 2 || d.Train.Y[i] < 0 || d.Train.Y[i] > 1 {
				t.Fatalf("row %d: %v %d", i, row, d.Train.Y[i])
			}
		}
	})
}
