package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"
)

// Names of the environment that `vault server -dev` reads as well.
const (
	listenVariable = "VAULT_DEV_LISTEN_ADDRESS"
	tokenVariable  = "VAULT_DEV_ROOT_TOKEN_ID"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, os.Args[1:])
	stop()
	if err != nil && !errors.Is(err, flag.ErrHelp) {
		fmt.Fprintln(os.Stderr, "vaultserver:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string) (err error) {
	flags := flag.NewFlagSet("vaultserver", flag.ContinueOnError)
	listen := flags.String("listen", orDefault(os.Getenv(listenVariable), "127.0.0.1:8200"), "`address` to listen on; also "+listenVariable)
	tokenFile := flags.String("token-file", "", "`file` that holds the root token; else it is in "+tokenVariable)
	unsealFile := flags.String("unseal-key-file", "", "`file` to write the unseal key to, in hexadecimal")
	requests := flags.String("requests", "", "`file` with a JSON list of {method, path, body} to make as root before listening")
	if err := flags.Parse(args); err != nil {
		return err
	}

	if flags.NArg() > 0 {
		return fmt.Errorf("unexpected argument %q", flags.Arg(0))
	}
	token, err := rootToken(*tokenFile)
	if err != nil {
		return err
	}

	dev, err := start(ctx, token)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, dev.core.ShutdownWait()) }()

	if *unsealFile != "" {
		if err := os.WriteFile(*unsealFile, []byte(dev.unsealKey+"\n"), 0o600); err != nil {
			return err
		}
	}

	if *requests != "" {
		if err := dev.make(ctx, *requests, token); err != nil {
			return err
		}
	}

	return serve(ctx, *listen, dev.handler)
}

// serve answers on address until ctx ends.
func serve(ctx context.Context, address string, handler http.Handler) error {
	var config net.ListenConfig
	listener, err := config.Listen(ctx, "tcp", address)
	if err != nil {
		return err
	}
	server := &http.Server{Handler: handler, ReadHeaderTimeout: 10 * time.Second}
	failed := make(chan error, 1)

	go func() { failed <- server.Serve(listener) }()
	fmt.Printf("listening on http://%s\n", listener.Addr())

	select {
	case err := <-failed:
		return err
	case <-ctx.Done():
	}

	limited, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer cancel()
	err = server.Shutdown(limited)
	<-failed // http.ErrServerClosed
	return err
}

func rootToken(file string) (string, error) {
	token := os.Getenv(tokenVariable)
	if file != "" {
		data, err := os.ReadFile(file)
		if err != nil {
			return "", err
		}
		token = strings.TrimSpace(string(data))
	}
	if token == "" {
		return "", fmt.Errorf("no root token: set %s, or give -token-file", tokenVariable)
	}
	return token, nil
}

func orDefault(text, other string) string {
	if text == "" {
		return other
	}
	return text
}
