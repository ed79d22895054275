// Command goproxy runs a command with GOPROXY naming a proxy that serves this
// machine's own module cache on the loopback interface, so that a build in a
// container on the host's network fetches what is here already. What is not
// is asked for where GOPROXY pointed before.
//
//	goproxy docker build --network host --build-arg GOPROXY …
package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/svcblocks/svcblocks/internal/safehttp"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		if exit, ok := errors.AsType[*exec.ExitError](err); ok && exit.ExitCode() > 0 {
			os.Exit(exit.ExitCode())
		}
		fmt.Fprintln(os.Stderr, "goproxy:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	if len(args) == 0 {
		return errors.New("name the command to run")
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()

	cache, err := goEnv(ctx, "GOMODCACHE")
	if err != nil {
		return err
	}
	before, err := goEnv(ctx, "GOPROXY")
	if err != nil {
		return err
	}

	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}

	server := &http.Server{
		Handler:           safehttp.ThisMachine().Handler(http.FileServer(http.Dir(filepath.Join(cache, "cache", "download")))),
		ReadHeaderTimeout: 10 * time.Second,
	}
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()

	cmd := exec.CommandContext(ctx, args[0], args[1:]...)
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = 30 * time.Second
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr

	// After | the next one is asked whatever the reason, also where the engine
	// is on another machine, and loopback with it.
	cmd.Env = append(os.Environ(), fmt.Sprintf("GOPROXY=http://%s|%s", listener.Addr(), before))
	err = cmd.Run()

	if closed := server.Close(); closed != nil {
		err = errors.Join(err, closed)
	}
	if ended := <-served; !errors.Is(ended, http.ErrServerClosed) {
		err = errors.Join(err, ended)
	}
	return err
}

func goEnv(ctx context.Context, name string) (string, error) {
	out, err := exec.CommandContext(ctx, "go", "env", name).Output()
	if err != nil {
		return "", fmt.Errorf("go env %s: %w", name, err)
	}
	return strings.TrimSpace(string(out)), nil
}
