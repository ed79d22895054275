// Command secrets makes the files that compose.prod.yaml mounts as secrets, each
// unless it is there: a password for Tor's control port, a token for the vault
// to try things with, a self-signed certificate for nginx, and empty files for
// what only the operator knows.
//
//	secrets FOLDER [NAME…]   NAME is a further name of the certificate
//
// The containers' user must read the files, so everyone may; the folder is its
// owner's alone.
package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"time"
)

// validity is that of the certificate; browsers take no longer one.
const validity = 397 * 24 * time.Hour

func main() {
	if len(os.Args) < 2 {
		fmt.Fprintln(os.Stderr, "usage: secrets FOLDER [NAME…]")
		os.Exit(2)
	}
	if err := run(os.Args[1], os.Args[2:]); err != nil {
		fmt.Fprintln(os.Stderr, "secrets:", err)
		os.Exit(1)
	}
}

func run(dir string, names []string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}

	// One that was there may be open to others, and the files in it are.
	if err := os.Chmod(dir, 0o700); err != nil {
		return fmt.Errorf("%w (the folder must be its owner's alone, as the files in it are for everybody)", err)
	}

	for _, name := range []string{"mail_password", "slack_webhook", "ship_token"} {
		if err := write(dir, name, nil); err != nil {
			return err
		}
	}

	for _, name := range []string{"tor_password", "vault_token"} {
		if err := write(dir, name, []byte(rand.Text()+"\n")); err != nil {
			return err
		}
	}

	// A key without its certificate, or the other way round, is somebody's
	// mistake that nginx explains better.
	if exists(dir, "tls_certificate") || exists(dir, "tls_key") {
		return nil
	}

	certificate, key, err := selfSigned(append([]string{"localhost", "127.0.0.1", "::1"}, names...))
	if err != nil {
		return err
	}
	return errors.Join(write(dir, "tls_key", key), write(dir, "tls_certificate", certificate))
}

func exists(dir, name string) bool {
	_, err := os.Stat(filepath.Join(dir, name))
	return err == nil
}

// write makes a file, unless it is there.
func write(dir, name string, content []byte) error {
	path := filepath.Join(dir, name)
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o444)
	if errors.Is(err, fs.ErrExist) {
		return nil
	}
	if err != nil {
		return err
	}
	_, err = f.Write(content)
	// The umask must not keep the containers out.
	return errors.Join(err, f.Chmod(0o444), f.Close())
}

// selfSigned returns a certificate for names, or addresses, and its key, in
// PEM.
func selfSigned(names []string) (certificate, key []byte, err error) {
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, err
	}
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127))
	if err != nil {
		return nil, nil, err
	}

	template := &x509.Certificate{
		SerialNumber: serial,
		Subject:      pkix.Name{CommonName: names[0]},
		NotBefore:    time.Now().Add(-time.Hour), NotAfter: time.Now().Add(validity),
		KeyUsage:    x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}

	for _, name := range names {
		if ip := net.ParseIP(name); ip != nil {
			template.IPAddresses = append(template.IPAddresses, ip)
		} else {
			template.DNSNames = append(template.DNSNames, name)
		}
	}

	der, err := x509.CreateCertificate(rand.Reader, template, template, private.Public(), private)
	if err != nil {
		return nil, nil, err
	}
	raw, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		return nil, nil, err
	}

	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}),
		pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: raw}), nil
}
