package safefile_test

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/svcblocks/svcblocks/internal/safefile"
	"github.com/svcblocks/svcblocks/internal/testenv"
)

func openDir(t *testing.T, path string, p safefile.Policy) *safefile.Dir {
	t.Helper()
	d, err := safefile.OpenDir(path, p)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = d.Close() })
	return d
}

func TestDir(t *testing.T) {
	t.Parallel()
	base := t.TempDir()
	d := openDir(t, filepath.Join(base, "a", "b"), safefile.Policy{})

	if err := d.WriteFile("x", []byte("one")); err != nil {
		t.Fatal(err)
	}
	if err := d.WriteFile("x", []byte("two")); err != nil {
		t.Fatal(err)
	}
	f, err := d.OpenFile("x", os.O_WRONLY|os.O_APPEND, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteString("+"); err != nil {
		t.Fatal(err)
	}
	_ = f.Close()
	if got, err := d.ReadFile("x"); string(got) != "two+" || err != nil {
		t.Errorf("ReadFile = %q, %v", got, err)
	}
	if err := d.Rename("x", "y"); err != nil {
		t.Fatal(err)
	}
	if f, err = d.Create("y"); err != nil { // empties it
		t.Fatal(err)
	}
	_ = f.Close()
	if f, err = d.CreateTemp("t*.jsonl"); err != nil {
		t.Fatal(err)
	}
	temp := filepath.Base(f.Name())
	_ = f.Close()
	if !strings.HasPrefix(temp, "t") || !strings.HasSuffix(temp, ".jsonl") || len(temp) != len("t12345678.jsonl") {
		t.Errorf("CreateTemp named it %q", temp)
	}

	sub := openDir(t, filepath.Join(base, "a", "b", "sub"), safefile.Policy{})
	if other, err := d.Sub("sub"); err != nil || other.Path() != sub.Path() {
		t.Errorf("Sub = %v, %v", other, err)
	} else {
		_ = other.Close()
	}

	entries, err := d.ReadDir()
	if err != nil || len(entries) != 3 || entries[0].Name() != "sub" || entries[1].Name() != temp || entries[2].Name() != "y" {
		t.Errorf("ReadDir = %v, %v; want sub, %s and y", entries, err, temp)
	}
	if got, err := d.ReadFile("y"); len(got) != 0 || err != nil {
		t.Errorf("Create left %q, %v", got, err)
	}
	if err := d.Remove("y"); err != nil {
		t.Error(err)
	}
	if _, err := d.ReadFile("y"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("ReadFile after Remove = %v, want ErrNotExist", err)
	}

	if d.Moved() {
		t.Error("Moved before it was")
	}
	if err := os.Rename(filepath.Join(base, "a"), filepath.Join(base, "c")); err == nil && !d.Moved() { // Windows does not let it
		t.Error("the folder was moved, and Moved says no")
	}
}

func TestNamesStayWithin(t *testing.T) {
	t.Parallel()
	base := t.TempDir()
	if err := os.WriteFile(filepath.Join(base, "victim"), []byte("v"), 0o600); err != nil {
		t.Fatal(err)
	}
	d := openDir(t, filepath.Join(base, "d"), safefile.Policy{})
	for _, name := range []string{"../victim", "x/../../victim", filepath.Join(base, "victim"), ""} {
		if f, err := d.OpenFile(name, os.O_RDWR|os.O_CREATE, 0); err == nil {
			_ = f.Close()
			t.Errorf("OpenFile(%q) left the folder", name)
		}
		if err := d.Remove(name); err == nil {
			t.Errorf("Remove(%q) left the folder", name)
		}
		if err := d.Rename("x", name); err == nil {
			t.Errorf("Rename to %q left the folder", name)
		}
	}
}

func TestLinksAreNotFollowed(t *testing.T) {
	t.Parallel()
	for _, planted := range []string{"victim", "dangling", "within", "within dangling", "loop", "folder"} {
		t.Run(planted, func(t *testing.T) {
			t.Parallel()
			base := t.TempDir()
			victim := filepath.Join(base, "victim")
			inside := filepath.Join(base, "d", "inside")
			target := map[string]string{
				"victim": victim, "dangling": filepath.Join(base, "new"), "within": "inside",
				"within dangling": "new", "loop": "x", "folder": "..",
			}[planted]
			d := openDir(t, filepath.Join(base, "d"), safefile.Policy{})
			for _, path := range []string{victim, inside} {
				if err := os.WriteFile(path, []byte("v"), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			link := filepath.Join(base, "d", "x")
			testenv.Symlink(t, target, link)

			for _, flag := range []int{
				os.O_RDONLY, os.O_RDWR, os.O_RDWR | os.O_CREATE, os.O_WRONLY | os.O_CREATE | os.O_TRUNC,
				os.O_WRONLY | os.O_CREATE | os.O_APPEND, os.O_RDWR | os.O_CREATE | os.O_EXCL,
			} {
				for how, open := range map[string]func() (*os.File, error){
					"Dir.OpenFile": func() (*os.File, error) { return d.OpenFile("x", flag, 0) },
					"OpenFile":     func() (*os.File, error) { return safefile.OpenFile(link, flag, 0, safefile.Policy{}) },
					"Shared": func() (*os.File, error) {
						return safefile.OpenFile(link, flag, 0, safefile.Policy{Shared: true})
					},
				} {
					f, err := open()
					if err == nil {
						_ = f.Close()
						t.Errorf("%s with flag %#x followed the link", how, flag)
						continue
					}
					if e, ok := errors.AsType[*safefile.Error](err); !ok || e.Path != link || !strings.Contains(err.Error(), "symbolic link") ||
						!errors.Is(err, fs.ErrPermission) || e.Advice() == "" {
						t.Errorf("%s with flag %#x = %v, want an *Error that says it is a link", how, flag, err)
					}
				}
			}

			if err := d.WriteFile("x", []byte("ours")); err != nil { // replaces the link
				t.Error(err)
			}
			for _, path := range []string{victim, inside} {
				if got, err := os.ReadFile(path); string(got) != "v" || err != nil {
					t.Errorf("%s is %q, %v now", path, got, err)
				}
			}
			for _, path := range []string{filepath.Join(base, "new"), filepath.Join(base, "d", "new")} {
				if _, err := os.Lstat(path); err == nil {
					t.Errorf("%s was created through the link", path)
				}
			}
		})
	}
}

// TestLinkThatComesInBetween plants the link at the worst moment.
func TestLinkThatComesInBetween(t *testing.T) {
	t.Parallel()
	testenv.Symlinks(t)
	for _, target := range []string{"victim", "new", "d/inside", "d/new"} {
		for _, flag := range []int{os.O_RDWR, os.O_WRONLY | os.O_CREATE | os.O_TRUNC, os.O_WRONLY | os.O_CREATE | os.O_APPEND} {
			for _, byPath := range []bool{false, true} {
				base := t.TempDir()
				d := openDir(t, filepath.Join(base, "d"), safefile.Policy{})
				for _, name := range []string{"victim", "d/inside", "d/x"} {
					if err := os.WriteFile(filepath.Join(base, name), []byte("v"), 0o600); err != nil {
						t.Fatal(err)
					}
				}
				name := "x"
				dir := d
				if byPath {
					name, dir = filepath.Join(base, "d", "x"), nil
				}
				relative, err := filepath.Rel(d.Path(), filepath.Join(base, target))
				if err != nil {
					t.Fatal(err)
				}

				f, err := safefile.OpenRacing(dir, name, flag, func() {
					link := filepath.Join(base, "link")
					if err := errors.Join(os.Symlink(relative, link), os.Rename(link, filepath.Join(base, "d", "x"))); err != nil {
						t.Fatal(err)
					}
				})
				if err == nil {
					_ = f.Close()
					t.Errorf("%s, flag %#x: opened through the link", target, flag)
				}
				for _, name := range []string{"victim", "d/inside"} {
					if got, err := os.ReadFile(filepath.Join(base, name)); string(got) != "v" || err != nil {
						t.Errorf("%s, flag %#x: %s is %q, %v now", target, flag, name, got, err)
					}
				}
				if _, err := os.Lstat(filepath.Join(base, "new")); err == nil {
					t.Errorf("%s, flag %#x: a file was created through the link", target, flag)
				}
			}
		}
	}
}

func TestFolderInPlaceOfAFile(t *testing.T) {
	t.Parallel()
	d := openDir(t, t.TempDir(), safefile.Policy{})
	if sub, err := d.Sub("x"); err != nil {
		t.Fatal(err)
	} else {
		_ = sub.Close()
	}
	if _, err := d.OpenFile("x", os.O_RDWR|os.O_CREATE, 0); err == nil || !strings.Contains(err.Error(), "it is a folder") {
		t.Errorf("OpenFile of a folder = %v", err)
	}
	if _, err := safefile.OpenFile(filepath.Join(d.Path(), "missing", "x"), os.O_RDWR|os.O_CREATE, 0, safefile.Policy{}); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("OpenFile in a missing folder = %v, want ErrNotExist", err)
	}
}
