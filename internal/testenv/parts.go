package testenv

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
)

// A Part is a real program that a test runs against.
type Part struct {
	// Path is the program, or the file that a part consists of; empty for
	// netns and root.
	Path string
	// Root is the folder below which an unpacked part's files lie (usr, etc);
	// empty where the part is installed.
	Root string
	// Env holds what the program needs in its environment beside the caller's.
	Env []string
}

// Command returns the command that runs p with args, in the caller's
// environment and p's own.
func (p Part) Command(args ...string) *exec.Cmd {
	cmd := exec.Command(p.Path, args...)
	if len(p.Env) > 0 {
		cmd.Env = append(os.Environ(), p.Env...)
	}
	return cmd
}

// Require returns the part called name: tor, tor-gencert, postfix, syslog-ng,
// nginx, strace, make, chromium, axe-core, user-agents, readers, docker, compose,
// netns, which stands for the right to create a network namespace, or root, for
// that to give files away and to become other users. Where it is absent
// Require skips t, or fails it with SVCBLOCKS_REQUIRE=all, and says how to get
// it. With -short it skips t: real parts take their time to start.
func Require(t testing.TB, name string) Part {
	t.Helper()
	Slow(t)
	part, err := Find(name)
	if err != nil {
		refuse(t, "%v", err)
	}
	return part
}

// Find returns the part called name, as Require does, or the reason why it
// cannot be used here and how to get it.
func Find(name string) (Part, error) {
	switch name {
	case "tor", "tor-gencert", "nginx", "strace", "make":
		return program(name, []string{name}, "apt install "+packageOf(name))
	case "chromium":
		return program(name, []string{
			"chromium", "chromium-browser", "google-chrome", "google-chrome-stable",
		}, "apt install chromium")
	case "postfix":
		return findPostfix()
	case "syslog-ng":
		return unpacked(name, "usr/sbin/syslog-ng")
	case "axe-core":
		return findAxe()
	case "user-agents":
		return findAgents()
	case "readers":
		return findReaders()
	case "compose":
		return findCompose()
	case "docker":
		return findDocker()
	case "netns":
		return Part{}, namespaces()
	case "root":
		if os.Geteuid() != 0 || !wholeUIDMap() {
			return Part{}, errors.New("only root can give files away and become other users: run the test as root")
		}
		return Part{}, nil
	}

	return Part{}, fmt.Errorf("no part is called %q", name)
}

// packageOf returns the Debian package that brings a program.
func packageOf(name string) string {
	switch name {
	case "tor-gencert":
		return "tor"
	case "nginx":
		return "nginx-light"
	}
	return name
}

// absent words the absence of a part.
func absent(name, hint string) error {
	return fmt.Errorf("%s is not here: get it with .ci/deps.sh (or %s)", name, hint)
}

// program looks for the first of names on PATH and where Debian keeps its
// daemons, which is not on everyone's PATH.
func program(part string, names []string, hint string) (Part, error) {
	for _, name := range names {
		if path, err := exec.LookPath(name); err == nil {
			return Part{Path: path}, nil
		}
		for _, dir := range []string{"/usr/local/sbin", "/usr/sbin", "/sbin"} {
			if path, err := exec.LookPath(filepath.Join(dir, name)); err == nil {
				return Part{Path: path}, nil
			}
		}
	}
	return Part{}, absent(part, hint)
}

// CacheDir returns the folder into which .ci/deps.sh unpacks parts.
func CacheDir() (string, error) {
	dir, err := os.UserCacheDir()
	if err != nil {
		return "", fmt.Errorf("testenv: %w", err)
	}
	return filepath.Join(dir, "svcblocks", "testenv"), nil
}

// unpacked finds a part that .ci/deps.sh took out of its packages.
func unpacked(name, file string) (Part, error) {
	if runtime.GOOS != "linux" {
		return Part{}, fmt.Errorf("%s is tested on Linux only", name)
	}
	cache, err := CacheDir()
	if err != nil {
		return Part{}, err
	}

	root := filepath.Join(cache, name)
	path, err := exec.LookPath(filepath.Join(root, filepath.FromSlash(file)))
	if err != nil {
		return Part{}, fmt.Errorf("%s is not here: get it with .ci/deps.sh, which unpacks it into %s", name, root)
	}

	dirs, err := libraryDirs(root)
	if err != nil {
		return Part{}, fmt.Errorf("%s in %s: %w", name, root, err)
	}
	return Part{
		Path: path,
		Root: root,
		Env:  []string{"LD_LIBRARY_PATH=" + strings.Join(dirs, ":")},
	}, nil
}

// libraryDirs returns the folders below root that hold shared libraries.
func libraryDirs(root string) ([]string, error) {
	var dirs []string
	for _, lib := range []string{"lib", "usr/lib"} {
		err := filepath.WalkDir(filepath.Join(root, lib), func(path string, _ fs.DirEntry, err error) error {
			if errors.Is(err, fs.ErrNotExist) {
				return nil
			}
			if err != nil {
				return err
			}
			if strings.Contains(filepath.Base(path), ".so") {
				dirs = append(dirs, filepath.Dir(path))
			}
			return nil
		})
		if err != nil {
			return nil, err
		}
	}

	slices.Sort(dirs)
	return slices.Compact(dirs), nil
}

// findPostfix finds postfix's master process, installed or unpacked, and makes
// sure that it can take on the users of its own that it insists on.
func findPostfix() (Part, error) {
	part, err := installedPostfix()
	if err != nil {
		if part, err = unpacked("postfix", "usr/lib/postfix/sbin/master"); err != nil {
			return Part{}, err
		}
	}
	if os.Geteuid() != 0 || !wholeUIDMap() {
		return Part{}, errors.New("postfix needs root and users of its own: run the test as root, " +
			"or through netns.Wrap with subordinate ids (apt install uidmap, and an entry for you in /etc/subuid and /etc/subgid)")
	}
	return part, nil
}

// installedPostfix finds postfix where distributions keep its daemons.
func installedPostfix() (Part, error) {
	for _, dir := range []string{"/usr/lib/postfix/sbin", "/usr/libexec/postfix", "/usr/lib/postfix/bin", "/usr/lib/postfix"} {
		if path, err := exec.LookPath(filepath.Join(dir, "master")); err == nil {
			return Part{Path: path}, nil
		}
	}
	return Part{}, absent("postfix", "apt install postfix, configured as \"No configuration\"")
}

// wholeUIDMap reports whether this process may take on ids other than its
// own, which it may not in a user namespace that maps a single one.
func wholeUIDMap() bool {
	text, err := os.ReadFile("/proc/self/uid_map")
	if err != nil {
		return false
	}
	fields := strings.Fields(string(text))
	return len(fields) > 3 || len(fields) == 3 && fields[2] != "1"
}

// axe is the folder of the version of axe-core that .ci/deps.sh fetches.
const axe = "axe-core-4.14.1"

// findAxe finds the script that checks how accessible a page is.
func findAxe() (Part, error) {
	cache, err := CacheDir()
	if err != nil {
		return Part{}, err
	}
	path := filepath.Join(cache, axe, "axe.min.js")
	if _, err := os.Stat(path); err != nil {
		return Part{}, fmt.Errorf("axe-core is not here: get it with .ci/deps.sh, which puts it at %s", path)
	}
	return Part{Path: path}, nil
}

// findAgents finds the folder with the lists of user agents that .ci/deps.sh
// fetches: top-user-agents.json and user-agents.json.
func findAgents() (Part, error) {
	cache, err := CacheDir()
	if err != nil {
		return Part{}, err
	}
	path := filepath.Join(cache, "user-agents")
	if _, err := os.Stat(filepath.Join(path, "user-agents.json")); err != nil {
		return Part{}, fmt.Errorf("lists of user agents are not here: get them with .ci/deps.sh, which puts them into %s", path)
	}
	return Part{Path: path}, nil
}

// findReaders finds a Python that reads YAML 1.1 and 1.2, TOML and JSON5: the
// one whose modules the machine's package manager brings.
func findReaders() (Part, error) {
	for _, name := range []string{"/usr/bin/python3", "python3"} {
		path, err := exec.LookPath(name)
		if err != nil {
			continue
		}
		if exec.Command(path, "-c", "import yaml, ruamel.yaml, json5, tomllib").Run() == nil {
			return Part{Path: path}, nil
		}
	}
	return Part{}, absent("a Python with PyYAML, ruamel.yaml, json5 and tomllib", "apt install python3-yaml python3-ruamel.yaml python3-json5")
}

// compose is the folder of the version of Compose that .ci/compose.sh builds.
const compose = "compose-v2.40.3"

// findCompose finds Compose v2 as a program of its own.
func findCompose() (Part, error) {
	cache, err := CacheDir()
	if err != nil {
		return Part{}, err
	}
	path, err := exec.LookPath(filepath.Join(cache, compose, "docker-compose"))
	if err != nil {
		return Part{}, errors.New("compose v2 is not here: build it with .ci/compose.sh")
	}
	return Part{Path: path}, nil
}

// findDocker finds the docker client and asks it for its engine.
func findDocker() (Part, error) {
	part, err := program("docker", []string{"docker"}, "apt install docker.io")
	if err != nil {
		return Part{}, err
	}
	if out, err := part.Command("version", "--format", "{{.Server.Version}}").CombinedOutput(); err != nil {
		return Part{}, fmt.Errorf("docker has no engine: start dockerd: %s", strings.TrimSpace(string(out)))
	}
	return part, nil
}
