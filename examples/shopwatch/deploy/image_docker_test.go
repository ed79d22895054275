//go:build docker

package deploy_test

import (
	"archive/tar"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/svcblocks/svcblocks/internal/testenv"
)

const (
	maxBinary = 17_000_000
	maxImage  = 18_000_000
)

// TestDockerImageHoldsNothingElse lists the image's files: there is no shell,
// no package manager, and nobody else's program.
func TestDockerImageHoldsNothingElse(t *testing.T) {
	requireImages(t)
	id := docker(t, "create", "--network", "none", serviceImage)
	t.Cleanup(func() { remove(t, id) })
	export := testenv.Require(t, "docker").Command("export", id)
	stream, err := export.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := export.Start(); err != nil {
		t.Fatal(err)
	}
	var files, programs []string
	for archive := tar.NewReader(stream); ; {
		header, err := archive.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		// The engine makes these places for its mounts.
		if header.Typeflag != tar.TypeReg || header.Size == 0 {
			continue
		}
		files = append(files, header.Name)
		if header.FileInfo().Mode()&0o111 != 0 {
			programs = append(programs, header.Name)
		}
		if header.FileInfo().Mode()&(fs.ModeSetuid|fs.ModeSetgid) != 0 || header.Uid != 0 {
			t.Errorf("%s has mode %v and belongs to %d", header.Name, header.FileInfo().Mode(), header.Uid)
		}
	}
	if err := export.Wait(); err != nil {
		t.Fatal(err)
	}
	slices.Sort(files)
	if diff := cmp.Diff([]string{"NOTICES", "etc/ssl/certs/ca-certificates.crt", "service", "zoneinfo.zip"}, files); diff != "" {
		t.Errorf("files of the image (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]string{"service"}, programs); diff != "" {
		t.Errorf("programs of the image (-want +got):\n%s", diff)
	}
	for _, shell := range []string{"/bin/sh", "/bin/bash", "sh", "busybox"} {
		if out, err := tryDocker(t, "run", "--rm", "--network", "none", "--entrypoint", shell, serviceImage, "-c", "true"); err == nil {
			t.Errorf("%s runs in the image: %s", shell, out)
		}
	}
}

func TestDockerImageIsSmall(t *testing.T) {
	requireImages(t)
	size, err := strconv.ParseInt(docker(t, "image", "inspect", "--format", "{{.Size}}", serviceImage), 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	binary := filepath.Join(t.TempDir(), "service")
	copyOut(t, serviceImage, "/service", binary)
	if n := fileSize(t, binary); n > maxBinary || size > maxImage {
		t.Errorf("the binary has %d bytes, the image %d; want at most %d and %d", n, size, maxBinary, maxImage)
	} else {
		t.Logf("binary %d bytes, image %d bytes", n, size)
	}
}

func TestDockerImageLabels(t *testing.T) {
	requireImages(t)
	var labels map[string]string
	if err := json.Unmarshal([]byte(docker(t, "image", "inspect", "--format", "{{json .Config.Labels}}", serviceImage)), &labels); err != nil {
		t.Fatal(err)
	}
	for _, key := range []string{"title", "description", "source", "licenses", "version", "revision"} {
		if labels["org.opencontainers.image."+key] == "" {
			t.Errorf("there is no label %s: %v", key, labels)
		}
	}
	version := docker(t, "run", "--rm", "--network", "none", serviceImage, "-version")
	if want := labels["org.opencontainers.image.version"]; version != want {
		t.Errorf("service -version = %q, the label says %q", version, want)
	}
}

// TestDockerImageIsReproducible builds the same source here, in a folder of
// another name, and wants the very bytes that the image has.
func TestDockerImageIsReproducible(t *testing.T) {
	requireImages(t)
	inImage := filepath.Join(t.TempDir(), "service")
	copyOut(t, serviceImage, "/service", inImage)
	built, err := output(exec.Command("go", "version", inImage))
	if err != nil {
		t.Fatal(err)
	}
	_, toolchain, _ := strings.Cut(built, ": ")
	root := filepath.Join(t.TempDir(), "elsewhere")
	if err := os.CopyFS(root, source{os.DirFS("../../..")}); err != nil {
		t.Fatal(err)
	}
	here := filepath.Join(t.TempDir(), "service")
	version := docker(t, "run", "--rm", "--network", "none", serviceImage, "-version")
	build := exec.Command("go", "build", "-trimpath", "-buildvcs=false", "-tags", "nodemo", "-gcflags=all=-l", "-ldflags=-s -w -funcalign=16 -X main.stamp="+version, "-o", here, "./shopwatch")
	build.Dir = filepath.Join(root, "examples")
	build.Env = append(os.Environ(), "CGO_ENABLED=0", "GOFLAGS=", "GOTOOLCHAIN="+toolchain)
	if _, err := output(build); err != nil {
		t.Fatal(err)
	}
	if a, b := digest(t, inImage), digest(t, here); a != b {
		t.Errorf("sha256 of the binary in the image %s, built here %s", a, b)
	} else {
		t.Logf("sha256 %s", a)
	}
}

// source is the repository as far as the build of the service reads it.
type source struct{ fs.FS }

// ReadDir leaves out what is no source.
func (s source) ReadDir(name string) ([]fs.DirEntry, error) {
	entries, err := fs.ReadDir(s.FS, name)
	return slices.DeleteFunc(entries, func(e fs.DirEntry) bool {
		return strings.HasPrefix(e.Name(), ".") || e.IsDir() && slices.Contains([]string{"bin", "docs", "var", "testdata", "secrets", "deploy"}, e.Name()) ||
			!e.IsDir() && !e.Type().IsRegular()
	}), err
}

func digest(t *testing.T, path string) string {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	sum := sha256.New()
	if _, err := io.Copy(sum, f); err != nil {
		t.Fatal(err)
	}
	return hex.EncodeToString(sum.Sum(nil))
}

// TestDockerImageRuns runs the image as production would: read-only, without
// any capability, as a numeric user, judged by its own health check.
func TestDockerImageRuns(t *testing.T) {
	requireImages(t)
	id := docker(t, "create", "--network", "none", "--read-only", "--cap-drop", "ALL", "--security-opt", "no-new-privileges",
		"-e", "SVC_SITE_URL=https://shop.example/", serviceImage)
	t.Cleanup(func() { remove(t, id) })
	docker(t, "start", id)
	waitHealthy(t, id, time.Minute)
	if user := inspect(t, id).Config.User; user != "65532:65532" {
		t.Errorf("runs as %q", user)
	}
	docker(t, "stop", "-t", "30", id)
	if code := inspect(t, id).State.ExitCode; code != 0 {
		t.Errorf("exit code %d after SIGTERM\n%s", code, docker(t, "logs", id))
	}
}

// TestDockerImageSaysWhatIsWrong starts it without a setting that it needs.
func TestDockerImageSaysWhatIsWrong(t *testing.T) {
	requireImages(t)
	_, err := tryDocker(t, "run", "--rm", "--network", "none", serviceImage)
	if err == nil || !strings.Contains(err.Error(), "site.url") {
		t.Errorf("without site.url: %v", err)
	}
}
