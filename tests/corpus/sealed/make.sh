#!/bin/sh
# Makes the messages and keys of this folder anew, with the programs of Debian that SOURCE.txt names. Run it in an
# empty folder; rfc9580-*.asc are not made here. Nobody else has these keys, and nothing else is encrypted to them.
set -eu
text='Content-Type: text/plain; charset=utf-8\r\n\r\nThe offer to Cardiff stands: 4711 pounds.\r\n'
printf "$text" >text.eml
yes 'and so on, and so on, and so on, and so on, and so on' | head -500 | sed 's/$/\r/' >lines
{ printf "$text"; cat lines; } >long.eml

# --- OpenPGP: GnuPG -----------------------------------------------------------------------------------------------
GNUPGHOME=$(mktemp -d); export GNUPGHOME
g() { gpg --batch --quiet --no-tty --pinentry-mode loopback --passphrase '' --trust-model always "$@"; }
key() {  # NAME PRIMARY SUBKEY: a key without an end, for NAME@example.net
    g --quick-gen-key "$1 <$1@example.net>" "$2" sign,cert 0
    g --quick-add-key "$(g --with-colons --list-keys "=$1 <$1@example.net>" | awk -F: '/^fpr/ {print $10; exit}')" "$3" encr 0
    g --armor --export-secret-keys "=$1 <$1@example.net>" >"$1.key.asc"
}
key rsa3072 rsa3072 rsa3072
key cv25519 ed25519 cv25519
key nistp256 nistp256 nistp256
key nistp384 nistp384 nistp384
key nistp521 nistp521 nistp521
g --faked-system-time 20200101T000000 --quick-gen-key "expired <expired@example.net>" future-default default 1y
g --armor --export-secret-keys expired@example.net >expired.key.asc
e() { g --armor --compress-algo none "$@"; }  # what lies inside of compressed text is not verified
for name in rsa3072 cv25519 nistp256 nistp384 nistp521; do
    e --sign -u $name@example.net --encrypt -r $name@example.net <text.eml >gpg-$name-signed.asc
    e --digest-algo SHA512 --detach-sign -u $name@example.net <text.eml >gpg-$name-detached.sig.asc
done
for cipher in AES AES192 AES256 TWOFISH CAMELLIA256; do
    e --cipher-algo $cipher --encrypt -r cv25519@example.net <text.eml >gpg-cipher-$cipher.asc
done
for cipher in 3DES CAST5; do
    e --cipher-algo $cipher --encrypt -r cv25519@example.net <text.eml >gpg-refused-$cipher.asc
done
for kind in ZIP ZLIB; do
    g --armor --compress-algo $kind --encrypt -r cv25519@example.net <text.eml >gpg-compressed-$kind.asc
done
g --armor --compress-algo BZIP2 --encrypt -r cv25519@example.net <text.eml >gpg-refused-BZIP2.asc
cat long.eml | e --encrypt -r cv25519@example.net >gpg-partial-lengths.asc  # of a pipe gpg knows no length
e --encrypt --hidden-recipient cv25519@example.net <text.eml >gpg-hidden-recipient.asc
e --encrypt -r cv25519@example.net -r rsa3072@example.net <text.eml >gpg-two-recipients.asc
e --rfc2440 --disable-mdc --encrypt -r rsa3072@example.net <text.eml >gpg-refused-no-mdc.asc
e --digest-algo SHA1 --sign -u rsa3072@example.net --encrypt -r cv25519@example.net <text.eml >gpg-refused-sha1.asc

# --- OpenPGP: RNP and sq ------------------------------------------------------------------------------------------
RNP=$(mktemp -d)
g --armor --export $(for n in rsa3072 cv25519 nistp256 nistp384 nistp521; do echo $n@example.net; done) >all.cert.asc
rnpkeys --homedir "$RNP" --import-keys all.cert.asc >/dev/null
rnpkeys --homedir "$RNP" --import-keys cv25519.key.asc >/dev/null
r() { rnp --homedir "$RNP" --notty --password '' --armor "$@" --output - text.eml; }
r --encrypt -r rsa3072@example.net -z 0 >rnp-rsa3072.asc
r --encrypt -r cv25519@example.net -z 0 --sign -u cv25519@example.net >rnp-cv25519-signed.asc
r --encrypt -r nistp256@example.net --zlib >rnp-nistp256-compressed.asc
r --encrypt -r cv25519@example.net --aead=OCB >rnp-refused-aead-draft.asc  # packet 20 of a draft, not RFC 9580
for name in rsa3072 cv25519 nistp384; do
    g --armor --export $name@example.net >$name.cert.asc
    sq encrypt --recipient-cert $name.cert.asc --compression none text.eml >sq-$name.asc
done
sq encrypt --recipient-cert cv25519.cert.asc --signer-key cv25519.key.asc --compression none text.eml >sq-cv25519-signed.asc
gpgconf --kill all
rm -rf "$GNUPGHOME" "$RNP" all.cert.asc ./*.cert.asc

# --- S/MIME: OpenSSL ----------------------------------------------------------------------------------------------
ec() { openssl ecparam -name "$1" -genkey -noout | openssl pkcs8 -topk8 -nocrypt; }
ec prime256v1 >ca.key
openssl req -x509 -new -key ca.key -subj '/CN=Authority of the corpus' -days 36500 -addext keyUsage=critical,keyCertSign,cRLSign -out ca.pem
own() {  # NAME: its certificate, for NAME@example.net
    printf 'subjectAltName=email:%s@example.net\nkeyUsage=digitalSignature,keyEncipherment,keyAgreement\nextendedKeyUsage=emailProtection\nsubjectKeyIdentifier=hash\nauthorityKeyIdentifier=keyid\n' "$1" >extensions
    openssl req -new -key "$1.key" -subj "/CN=$1" | openssl x509 -req -CA ca.pem -CAkey ca.key -days 36400 \
        -set_serial "0x$(openssl rand -hex 8)" -extfile extensions -out "$1.pem" 2>/dev/null
}
openssl genrsa 2048 2>/dev/null | openssl pkcs8 -topk8 -nocrypt >rsa2048.key
ec prime256v1 >p256.key; ec secp384r1 >p384.key; ec secp521r1 >p521.key
openssl genpkey -algorithm ED25519 >ed25519.key
for name in rsa2048 p256 p384 p521 ed25519; do own $name; done
s() { out=$1; shift; openssl cms -encrypt -from rsa2048@example.net -subject Outside -out "$out.eml" "$@"; }
s cms-rsa-pkcs1-gcm256 -aes-256-gcm -in text.eml rsa2048.pem
s cms-rsa-pkcs1-gcm128 -aes-128-gcm -in text.eml rsa2048.pem
s cms-rsa-pkcs1-gcm192 -aes-192-gcm -in text.eml rsa2048.pem
s cms-rsa-oaep-sha1 -aes-256-gcm -in text.eml -recip rsa2048.pem -keyopt rsa_padding_mode:oaep
s cms-rsa-oaep-sha256 -aes-256-gcm -in text.eml -recip rsa2048.pem -keyopt rsa_padding_mode:oaep -keyopt rsa_oaep_md:sha256
for digest in sha384 sha512; do
    s cms-rsa-oaep-$digest -aes-256-gcm -in text.eml -recip rsa2048.pem -keyopt rsa_padding_mode:oaep -keyopt rsa_oaep_md:$digest
done
s cms-rsa-oaep-mgf1-sha1 -aes-256-gcm -in text.eml -recip rsa2048.pem -keyopt rsa_padding_mode:oaep -keyopt rsa_oaep_md:sha256 -keyopt rsa_mgf1_md:sha1
s cms-ecdh-p256-sha224 -aes-256-gcm -in text.eml -recip p256.pem -keyopt ecdh_kdf_md:sha224
s cms-ecdh-p384-sha1 -aes-128-gcm -in text.eml p384.pem
s cms-ecdh-p521-sha256 -aes-256-gcm -in text.eml -recip p521.pem -keyopt ecdh_kdf_md:sha256
s cms-ecdh-p256 -aes-256-gcm -in text.eml p256.pem
s cms-ecdh-p256-sha256 -aes-128-gcm -in text.eml -recip p256.pem -keyopt ecdh_kdf_md:sha256
s cms-ecdh-p384 -aes-256-gcm -in text.eml -recip p384.pem -keyopt ecdh_kdf_md:sha384
s cms-ecdh-p521 -aes-192-gcm -in text.eml -recip p521.pem -keyopt ecdh_kdf_md:sha512
s cms-key-identifier -aes-256-gcm -keyid -in text.eml rsa2048.pem
s cms-two-recipients -aes-256-gcm -in text.eml rsa2048.pem p256.pem
s cms-indefinite-lengths -stream -aes-256-gcm -in long.eml rsa2048.pem
for cipher in aes-128-cbc aes-192-cbc aes-256-cbc des-ede3-cbc; do
    s cms-refused-$cipher -$cipher -in text.eml rsa2048.pem
done
t() { out=$1; shift; openssl cms -sign -in text.eml -out "$out" -certfile ca.pem "$@"; }
t signed -signer rsa2048.pem -inkey rsa2048.key
for cipher in aes-128-cbc aes-192-cbc aes-256-cbc; do s cms-signed-$cipher -$cipher -in signed rsa2048.pem; done
t signed -signer p384.pem -inkey p384.key -md sha384
s cms-ecdh-p384-signed-aes-256-cbc -aes-256-cbc -in signed -recip p384.pem -keyopt ecdh_kdf_md:sha384
t signed -signer rsa2048.pem -inkey rsa2048.key
s cms-refused-signed-des-ede3-cbc -des-ede3-cbc -in signed rsa2048.pem
sign() {  # FILE NAME OPTIONS: by the key of NAME, which is the author too
    out=$1 name=$2; shift 2
    t "$out.eml" -from "$name@example.net" -subject Outside -signer "$name.pem" -inkey "$name.key" "$@"
}
sign sig-rsa rsa2048
sign sig-rsa-sha512 rsa2048 -md sha512
sign sig-rsa-sha384 rsa2048 -md sha384
for digest in sha384 sha512; do sign sig-rsa-pss-$digest rsa2048 -md $digest -keyopt rsa_padding_mode:pss; done
sign sig-rsa-pss rsa2048 -keyopt rsa_padding_mode:pss
sign sig-rsa-no-attributes rsa2048 -noattr
sign sig-rsa-opaque rsa2048 -nodetach
sign sig-ecdsa-p256 p256 -md sha256
sign sig-ecdsa-p384 p384 -md sha384
sign sig-ecdsa-p521 p521 -md sha512
{  # OpenSSL 3.0 signs CMS with no Ed25519 key; GnuTLS does
    printf 'From: ed25519@example.net\r\nSubject: Outside\r\nMIME-Version: 1.0\r\n'
    printf 'Content-Type: application/pkcs7-mime; smime-type=signed-data\r\nContent-Transfer-Encoding: base64\r\n\r\n'
    certtool --p7-sign --p7-time --hash SHA512 --load-certificate ed25519.pem --load-privkey ed25519.key --infile text.eml |
        sed '/-----/d; s/$/\r/'
} >sig-ed25519-opaque.eml
sign sig-refused-sha1 rsa2048 -md sha1
rm -f extensions lines signed ca.key ./*.srl
