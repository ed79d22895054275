// Command tor starts Tor as the only program of a container, and asks it how
// it fares.
//
//	tor-start               writes a torrc and becomes Tor
//	tor-start -healthcheck  succeeds once Tor has bootstrapped to 100 %
//
// The control port's password is in the file /run/secrets/tor_password, or
// the one that TOR_PASSWORD_FILE names. Further lines of torrc come from files
// in /etc/tor/torrc.d whose names end in .conf.
package main

import (
	"context"
	"crypto/rand"
	"errors"
	"flag"
	"fmt"
	"os"
	"strings"
	"syscall"
	"time"
)

const (
	program = "/usr/bin/tor"
	torrc   = "/tmp/torrc"
	control = "127.0.0.1:9051"
)

// settings is the torrc but for the password. Other containers reach both
// ports, and the network that they share is what keeps everyone else away.
const settings = `ClientOnly 1
SocksPort 0.0.0.0:9050 IsolateSOCKSAuth KeepAliveIsolateSOCKSAuth
ControlPort 0.0.0.0:9051
CookieAuthentication 0
DataDirectory /var/lib/tor
Log [control]warn [~control]notice stdout
ShutdownWaitLength 0
%include /etc/tor/torrc.d/*.conf
`

func main() {
	check := flag.Bool("healthcheck", false, "succeed if Tor has bootstrapped to 100 %")
	flag.Parse()
	if err := run(*check); err != nil {
		fmt.Fprintln(os.Stderr, "tor-start:", err)
		os.Exit(1)
	}
}

func run(check bool) error {
	password, err := readPassword()
	if err != nil {
		return err
	}

	if check {
		ctx, cancel := context.WithTimeout(context.Background(), 4*time.Second)
		defer cancel()
		return bootstrapped(ctx, control, password)
	}

	var salt [8]byte
	if _, err := rand.Read(salt[:]); err != nil {
		return err
	}
	text := settings + "HashedControlPassword " + hashPassword(password, salt) + "\n"
	if err := os.WriteFile(torrc, []byte(text), 0o600); err != nil {
		return err
	}
	return syscall.Exec(program, []string{program, "--defaults-torrc", "/dev/null", "-f", torrc}, environ())
}

// environ is what Tor gets to know of the container's environment, which may hold
// secrets that were meant for other programs.
func environ() []string {
	var env []string
	for _, name := range []string{"PATH", "HOME", "TMPDIR"} {
		if value, ok := os.LookupEnv(name); ok {
			env = append(env, name+"="+value)
		}
	}
	return env
}

// readPassword reads the control port's password, without the line's end.
func readPassword() (string, error) {
	path := os.Getenv("TOR_PASSWORD_FILE")
	if path == "" {
		path = "/run/secrets/tor_password"
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return "", fmt.Errorf("password of the control port: %w (TOR_PASSWORD_FILE names the file)", err)
	}
	password := strings.TrimRight(string(text), "\r\n")
	if password == "" {
		return "", errors.New("password of the control port: " + path + " is empty")
	}
	return password, nil
}
