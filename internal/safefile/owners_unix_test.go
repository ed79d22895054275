//go:build unix

package safefile_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/svcblocks/svcblocks/internal/safefile"
	"github.com/svcblocks/svcblocks/internal/testenv"
	"github.com/svcblocks/svcblocks/internal/testenv/netns"
)

// asked makes the test binary answer a question in place of running tests, as
// another user or within its own mounts.
const asked = "SAFEFILE_ASK"

// question is asked of a child process.
type question struct {
	Do     string // "dir", "file", "writable", "swap"
	Path   string
	Policy safefile.Policy
}

func TestMain(m *testing.M) {
	if text := os.Getenv(asked); text != "" {
		var q question
		if err := json.Unmarshal([]byte(text), &q); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(2)
		}
		fmt.Print(q.answer())
		os.Exit(0)
	}

	dir, err := os.MkdirTemp("", "safefile")
	if err == nil {
		err = copySelf(dir)
	}
	code := 1
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
	} else {
		// Who is not root here is root in there, with users of its own.
		code = netns.Wrap(m).Run()
	}
	_ = os.RemoveAll(dir)
	os.Exit(code)
}

// answer is "ok", or why not.
func (q question) answer() string {
	err := error(nil)
	switch q.Do {
	case "dir":
		err = safefile.MakeDir(q.Path, q.Policy)
	case "read": // a file that lies in a folder of ours
		var d *safefile.Dir
		if d, err = safefile.OpenDir(filepath.Dir(q.Path), q.Policy); err == nil {
			_, err = d.ReadFile(filepath.Base(q.Path))
		}
	case "file":
		var f *os.File
		if f, err = safefile.OpenFile(q.Path, os.O_RDWR|os.O_CREATE|os.O_APPEND, 0, q.Policy); err == nil {
			err = f.Close()
		}
	case "writable":
		found, err := safefile.Writable(q.Path)
		if err != nil {
			return err.Error()
		}
		var lines []string
		for _, f := range found {
			if !f.Above {
				lines = append(lines, fmt.Sprintf("%s %d", filepath.Base(f.Path), f.Who))
			}
		}
		slices.Sort(lines)
		return strings.Join(lines, ", ")
	case "swap":
		swap(q.Path, time.Now().Add(time.Minute))
	}
	if err != nil {
		return err.Error()
	}
	return "ok"
}

// ask runs q as uid.
func ask(t *testing.T, uid int, q question) string {
	t.Helper()
	if os.Getuid() == uid {
		return q.answer()
	}
	testenv.Require(t, "root") // to become another user
	text, err := json.Marshal(q)
	if err != nil {
		t.Fatal(err)
	}
	cmd := testenv.Program(program)
	cmd.Env = []string{asked + "=" + string(text), "GORACE=atexit_sleep_ms=0"}
	cmd.Dir = "/"
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uint32(uid), Gid: uint32(uid)}}
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("as %d: %v: %s", uid, err, out)
	}
	return string(out)
}

// program is a copy of the test binary that every user may run. It is made
// before the tests: a file that is open for writing while another test forks
// cannot be run.
var program string

// copySelf makes the program in dir.
func copySelf(dir string) error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	data, err := os.ReadFile(self)
	if err != nil {
		return err
	}
	program = filepath.Join(dir, "ask")
	return errors.Join(os.Chmod(dir, 0o755), os.WriteFile(program, data, 0o755))
}

// sharedDir is a folder that every user may enter, unlike t.TempDir.
func sharedDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "safefile")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	return dir
}

// place makes a folder or file with an owner and a mode.
func place(t *testing.T, path string, uid int, mode fs.FileMode) {
	t.Helper()
	if mode.IsDir() {
		if err := os.MkdirAll(path, 0o755); err != nil {
			t.Fatal(err)
		}
	} else if err := os.WriteFile(path, []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	if uid != os.Getuid() {
		if err := os.Chown(path, uid, uid); err != nil {
			testenv.Require(t, "root") // to give files away
			t.Fatal(err)
		}
	}
	if err := os.Chmod(path, mode&(fs.ModePerm|fs.ModeSticky|fs.ModeSetgid)); err != nil {
		t.Fatal(err)
	}
}

const folder = fs.ModeDir

// TestPlaces is the table of the package text.
func TestPlaces(t *testing.T) {
	t.Parallel()
	testenv.Require(t, "root") // to give files away
	shared := safefile.Policy{Shared: true, OptOut: "block.Shared"}
	for _, r := range []struct {
		name       string
		dirUID     int
		dirMode    fs.FileMode
		file       int // its owner; -1 for none
		fileMode   fs.FileMode
		do         string
		policy     safefile.Policy
		user, root string // a part of the error, "ok" for none
	}{
		{"emptyDir", 0, 0o777, -1, 0, "dir", safefile.Policy{OptOut: "block.Shared"}, "set block.Shared", "everybody may write it"},
		{"emptyDir shared", 0, 0o777, -1, 0, "dir", shared, "ok", "ok"},
		{"below emptyDir", 0, 0o777, -1, 0, "below", safefile.Policy{}, "ok", "ok"},
		{"emptyDir with fsGroup", 0, 0o777 | fs.ModeSetgid, -1, 0, "dir", safefile.Policy{}, "everybody", "everybody"},
		{"volume with fsGroup", 0, 0o775 | fs.ModeSetgid, -1, 0, "dir", safefile.Policy{}, "ok", "ok"},
		{"own", 1000, 0o750, -1, 0, "dir", safefile.Policy{}, "ok", "ok"},
		{"another's", 2000, 0o755, -1, 0, "dir", safefile.Policy{}, "another user", "ok"},
		{"Docker Desktop", 1000, 0o777, 1000, 0o777, "read", safefile.Policy{}, "everybody", "everybody"},
		{"Docker Desktop shared", 1000, 0o777, 1000, 0o777, "read", shared, "ok", "ok"},
		{"mode of the block", 1000, 0o777, 1000, 0o666, "read", safefile.Policy{Perm: 0o666, DirPerm: 0o777}, "ok", "ok"},
		{"sticky", 0, 0o777 | fs.ModeSticky, -1, 0, "dir", safefile.Policy{}, "ok", "ok"},
		{"sticky, planted", 0, 0o777 | fs.ModeSticky, 2000, 0o644, "read", safefile.Policy{}, "belongs to another user", "belongs to another user"},
		{"sticky, root's", 0, 0o777 | fs.ModeSticky, 0, 0o644, "read", safefile.Policy{}, "ok", "ok"},
		{"sticky, folder owner's", 2000, 0o777 | fs.ModeSticky, 2000, 0o644, "read", safefile.Policy{}, "another user", "belongs to another user"},
		{"planted file", 1000, 0o755, 2000, 0o644, "read", safefile.Policy{}, "belongs to another user", "belongs to another user"},
		{"root's file", 1000, 0o755, 0, 0o644, "read", safefile.Policy{}, "ok", "ok"},
		{"folder owner's file", 1000, 0o755, 1000, 0o644, "read", safefile.Policy{}, "ok", "ok"},
		{"open file", 1000, 0o755, 1000, 0o646, "read", safefile.Policy{}, "everybody may write it: take the write bit from others (chmod o-w)", "chmod o-w"},
		{"group file", 1000, 0o775, 1000, 0o664, "read", safefile.Policy{}, "ok", "ok"},
		{"log in emptyDir", 0, 0o777, -1, 0, "file", safefile.Policy{}, "ok", "ok"},
		{"log planted in emptyDir", 0, 0o777, 2000, 0o666, "file", safefile.Policy{}, "another user", "another user"},
		{"log of the folder's owner", 2000, 0o777, 2000, 0o666, "file", safefile.Policy{}, "everybody", "everybody"},
	} {
		t.Run(r.name, func(t *testing.T) {
			t.Parallel()
			for _, uid := range []int{1000, 0} {
				dir := filepath.Join(sharedDir(t), "d")
				place(t, dir, r.dirUID, folder|r.dirMode)
				q := question{Do: r.do, Path: dir, Policy: r.policy}
				switch {
				case r.do == "below":
					q.Do, q.Path = "dir", filepath.Join(dir, "made", "here")
				case r.do != "dir":
					q.Path = filepath.Join(dir, "x")
				}
				if r.file >= 0 {
					place(t, q.Path, r.file, r.fileMode)
				}

				want := r.user
				if uid == 0 {
					want = r.root
				}
				got := ask(t, uid, q)
				if want == "ok" && got != "ok" || !strings.Contains(got, want) {
					t.Errorf("as %d: %s; want %s", uid, got, want)
				}
				if r.do == "below" {
					info, err := os.Stat(q.Path)
					if err != nil || info.Mode().Perm() != 0o700 {
						t.Errorf("made as %v, %v; want 0700", info, err)
					}
				}
			}
		})
	}
}

func TestSecondNames(t *testing.T) {
	t.Parallel()
	dir := sharedDir(t)
	place(t, dir, os.Getuid(), folder|0o777|fs.ModeSticky)
	victim := filepath.Join(t.TempDir(), "victim")
	place(t, victim, os.Getuid(), 0o600)
	if err := os.Link(victim, filepath.Join(dir, "x")); err != nil {
		t.Fatal(err)
	}
	d := openDir(t, dir, safefile.Policy{})
	if _, err := d.OpenFile("x", os.O_WRONLY|os.O_APPEND, 0); err == nil || !strings.Contains(err.Error(), "second name") {
		t.Errorf("a second name of a victim's file was opened: %v", err)
	}

	// Backups make second names too; in a folder of ours they are fine.
	place(t, dir, os.Getuid(), folder|0o755)
	if _, err := d.ReadFile("x"); err != nil {
		t.Errorf("a backup's second name: %v", err)
	}
}

func TestPipesAreNotWaitedFor(t *testing.T) {
	t.Parallel()
	d := openDir(t, t.TempDir(), safefile.Policy{})
	path := filepath.Join(d.Path(), "x")
	if err := mkfifo(path); err != nil {
		t.Fatal(err)
	}
	for _, flag := range []int{os.O_RDONLY, os.O_RDWR, os.O_WRONLY} {
		for _, open := range []func() (*os.File, error){
			func() (*os.File, error) { return d.OpenFile("x", flag, 0) },
			func() (*os.File, error) { return safefile.OpenFile(path, flag, 0, safefile.Policy{}) },
		} {
			if _, err := open(); err == nil || !strings.Contains(err.Error(), "no regular file") {
				t.Errorf("flag %#x: %v, want no regular file", flag, err)
			}
		}
	}
}

func TestLinkToTheFolder(t *testing.T) {
	t.Parallel()
	testenv.Require(t, "root") // to give files away
	base := sharedDir(t)
	place(t, filepath.Join(base, "real"), 0, folder|0o755)
	for owner, want := range map[int]string{0: "ok", 2000: "another user's link"} {
		link := filepath.Join(base, fmt.Sprint("link", owner))
		if err := errors.Join(os.Symlink("real", link), os.Lchown(link, owner, owner)); err != nil {
			t.Fatal(err)
		}
		if got := (question{Do: "dir", Path: link}).answer(); !strings.Contains(got, want) {
			t.Errorf("link of %d: %s, want %s", owner, got, want)
		}
	}
}

// swap exchanges what is at path: a link out of the folder, one within, a
// dangling one, a file.
func swap(path string, until time.Time) {
	dir := filepath.Dir(path)
	for i := 0; time.Now().Before(until); i++ {
		tmp := fmt.Sprintf("%s.%d.%d", path, os.Getpid(), i%2)
		_ = os.Remove(tmp)
		switch i % 4 {
		case 0:
			_ = os.Symlink(filepath.Join(dir, "..", "victim"), tmp)
		case 1:
			_ = os.Symlink("inside", tmp)
		case 2:
			_ = os.Symlink(filepath.Join(dir, "..", "new"), tmp)
		default:
			_ = os.WriteFile(tmp, nil, 0o600)
		}
		_ = os.Rename(tmp, path)
	}
}

// TestRace opens while another process swaps what has the name.
func TestRace(t *testing.T) {
	t.Parallel()
	base := t.TempDir()
	dir := filepath.Join(base, "d")
	d := openDir(t, dir, safefile.Policy{})
	for _, path := range []string{filepath.Join(base, "victim"), filepath.Join(dir, "inside")} {
		place(t, path, os.Getuid(), 0o600)
	}

	text, err := json.Marshal(question{Do: "swap", Path: filepath.Join(dir, "x")})
	if err != nil {
		t.Fatal(err)
	}
	cmd := testenv.Self()
	cmd.Env = append(os.Environ(), asked+"="+string(text), "GORACE=atexit_sleep_ms=0")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = cmd.Process.Kill(); _ = cmd.Wait() }()

	var wg sync.WaitGroup
	opened := make([]int, 2)
	for i, open := range []func() (*os.File, error){
		func() (*os.File, error) { return d.OpenFile("x", os.O_RDWR|os.O_CREATE|os.O_TRUNC, 0) },
		func() (*os.File, error) {
			return safefile.OpenFile(filepath.Join(dir, "x"), os.O_RDWR|os.O_CREATE|os.O_APPEND, 0, safefile.Policy{})
		},
	} {
		wg.Go(func() {
			for range 5000 {
				f, err := open()
				if err != nil {
					continue
				}
				opened[i]++
				_, _ = f.WriteString("ours")
				_ = f.Close()
				runtime.Gosched()
			}
		})
	}
	wg.Wait()
	t.Logf("opened %v times", opened)
	for _, path := range []string{filepath.Join(base, "victim"), filepath.Join(dir, "inside")} {
		if got, err := os.ReadFile(path); string(got) != "x" || err != nil {
			t.Errorf("%s was written through a link: %q, %v", path, got, err)
		}
	}
	if _, err := os.Lstat(filepath.Join(base, "new")); err == nil {
		t.Error("a file was created through a link")
	}
}

func TestWritable(t *testing.T) {
	t.Parallel()
	testenv.Require(t, "root") // to give files away
	const everybody, group, stranger = 1, 2, 3
	for _, r := range []struct {
		name string
		make func(t *testing.T, base string) string
		want string // as user 1000
	}{
		{"right", func(t *testing.T, base string) string {
			place(t, base+"/c", 0, folder|0o755)
			place(t, base+"/c/f", 0, 0o644)
			return base + "/c/f"
		}, ""},
		{"own", func(t *testing.T, base string) string {
			place(t, base+"/c", 1000, folder|0o700)
			place(t, base+"/c/f", 1000, 0o600)
			return base + "/c/f"
		}, ""},
		{"open folder", func(t *testing.T, base string) string {
			place(t, base+"/c", 0, folder|0o777)
			place(t, base+"/c/f", 0, 0o644)
			return base + "/c/f"
		}, fmt.Sprint("c ", everybody)},
		{"open file", func(t *testing.T, base string) string {
			place(t, base+"/c", 0, folder|0o755)
			place(t, base+"/c/f", 0, 0o666)
			return base + "/c/f"
		}, fmt.Sprint("f ", everybody)},
		{"sticky", func(t *testing.T, base string) string {
			place(t, base+"/c", 0, folder|0o777|fs.ModeSticky)
			place(t, base+"/c/f", 0, 0o644)
			return base + "/c/f"
		}, ""},
		{"sticky, planted", func(t *testing.T, base string) string {
			place(t, base+"/c", 0, folder|0o777|fs.ModeSticky)
			place(t, base+"/c/f", 2000, 0o644)
			return base + "/c/f"
		}, fmt.Sprintf("c %d, f %d", everybody, stranger)},
		{"sticky folder of secrets", func(t *testing.T, base string) string {
			place(t, base+"/c", 0, folder|0o777|fs.ModeSticky)
			return base + "/c"
		}, fmt.Sprint("c ", everybody)},
		{"umask 002", func(t *testing.T, base string) string {
			place(t, base+"/c", 1000, folder|0o775)
			place(t, base+"/c/f", 1000, 0o664)
			return base + "/c/f"
		}, fmt.Sprintf("c %d, f %d", group, group)},
		{"ConfigMap", func(t *testing.T, base string) string { return configMap(t, base, 0o755) }, ""},
		{"ConfigMap that others may turn", func(t *testing.T, base string) string { return configMap(t, base, 0o777) }, fmt.Sprint("c ", everybody)},
		{"link to an open file", func(t *testing.T, base string) string {
			place(t, base+"/c", 0, folder|0o755)
			place(t, base+"/e", 0, folder|0o755)
			place(t, base+"/e/f", 0, 0o666)
			if err := os.Symlink("../e/f", base+"/c/f"); err != nil {
				t.Fatal(err)
			}
			return base + "/c/f"
		}, fmt.Sprint("f ", everybody)},
		{"link in an open folder", func(t *testing.T, base string) string {
			place(t, base+"/c", 0, folder|0o777)
			place(t, base+"/e", 0, folder|0o755)
			place(t, base+"/e/f", 0, 0o644)
			if err := os.Symlink(base+"/e/f", base+"/c/f"); err != nil {
				t.Fatal(err)
			}
			return base + "/c/f"
		}, fmt.Sprint("c ", everybody)},
		{"link on the way of a link in an open folder", func(t *testing.T, base string) string {
			place(t, base+"/c", 0, folder|0o755)
			place(t, base+"/e", 0, folder|0o777)
			place(t, base+"/g", 0, folder|0o755)
			place(t, base+"/g/f", 0, 0o644)
			if err := errors.Join(os.Symlink("../g", base+"/e/way"), os.Symlink("../e/way/f", base+"/c/f")); err != nil {
				t.Fatal(err)
			}
			return base + "/c/f"
		}, fmt.Sprint("e ", everybody)},
		{"loop", func(t *testing.T, base string) string {
			if err := os.Symlink("f", base+"/f"); err != nil {
				t.Fatal(err)
			}
			return base + "/f"
		}, "more than 40 links"},
		{"missing", func(_ *testing.T, base string) string { return base + "/f" }, "no such file"},
	} {
		t.Run(r.name, func(t *testing.T) {
			t.Parallel()
			base := sharedDir(t)
			got := ask(t, 1000, question{Do: "writable", Path: r.make(t, base)})
			if got != r.want && (r.want == "" || !strings.Contains(got, r.want)) {
				t.Errorf("Writable = %q, want %q", got, r.want)
			}
		})
	}

	base := sharedDir(t)
	place(t, base+"/a", 0, folder|0o777)
	place(t, base+"/a/c", 0, folder|0o755)
	place(t, base+"/a/c/f", 0, 0o644)
	found, err := safefile.Writable(base + "/a/c/f")
	if err != nil || len(found) != 1 || !found[0].Above || found[0].Path != base+"/a" ||
		found[0].String() != base+"/a (drwxrwxrwx, owner 0): everybody may write this folder" {
		t.Errorf("Writable = %v, %v; want the folder above", found, err)
	}
}

// configMap makes a folder as the kubelet does.
func configMap(t *testing.T, base string, mode fs.FileMode) string {
	t.Helper()
	place(t, base+"/c", 0, folder|mode)
	place(t, base+"/c/..2026", 0, folder|0o755)
	place(t, base+"/c/..2026/f", 0, 0o644)
	if err := errors.Join(os.Symlink("..2026", base+"/c/..data"), os.Symlink("..data/f", base+"/c/f")); err != nil {
		t.Fatal(err)
	}
	return base + "/c/f"
}

// TestReadOnlyMount asks within mounts of its own.
func TestReadOnlyMount(t *testing.T) {
	t.Parallel()
	testenv.Require(t, "root")
	testenv.Require(t, "netns")
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	for how, want := range map[string]string{"rw": "f 1, m 1", "ro": ""} {
		text, err := json.Marshal(question{Do: "writable", Path: dir + "/m/f"})
		if err != nil {
			t.Fatal(err)
		}
		cmd := testenv.NamespaceCommand("sh", "-c", `set -e
mount --make-rprivate /
mkdir -p m; mount -t tmpfs none m; echo x > m/f; chmod 666 m/f; chmod 777 m; mount -o remount,$1 m; exec "$2"`, "sh", how, self)
		cmd.Dir, cmd.Env = dir, append(os.Environ(), asked+"="+string(text), "GORACE=atexit_sleep_ms=0")
		var stderr bytes.Buffer
		cmd.Stderr = &stderr
		out, err := cmd.Output()
		if err != nil {
			t.Fatalf("%v: %s", err, stderr.String())
		}
		if string(out) != want {
			t.Errorf("mounted %s: Writable = %q, want %q", how, out, want)
		}
	}
}
