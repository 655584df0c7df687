// Makes the files sig-pkijs-* of this folder anew, elsewhere: npm install pkijs@4.0.0 asn1js; node make-pkijs.mjs FOLDER
import { readFileSync, writeFileSync } from 'node:fs';
import { webcrypto } from 'node:crypto';
import * as asn1js from 'asn1js';
import * as pkijs from 'pkijs';

const folder = process.argv[2];
pkijs.setEngine('node', new pkijs.CryptoEngine({ name: 'node', crypto: webcrypto }));
const read = (name) => readFileSync(`${folder}/${name}`);
const der = (name) => Buffer.from(read(name).toString().replace(/-----[^-]+-----|\s/g, ''), 'base64');
const text = read('text.eml');
const certificate = pkijs.Certificate.fromBER(der('rsa2048.pem'));
for (const hash of ['SHA-256', 'SHA-384', 'SHA-512']) {
  const key = await webcrypto.subtle.importKey('pkcs8', der('rsa2048.key'), { name: 'RSASSA-PKCS1-v1_5', hash }, false, ['sign']);
  const digest = await webcrypto.subtle.digest(hash, text);
  const attribute = (type, value) => new pkijs.Attribute({ type, values: [value] });
  const attributes = [
    attribute('1.2.840.113549.1.9.3', new asn1js.ObjectIdentifier({ value: '1.2.840.113549.1.7.1' })),
    attribute('1.2.840.113549.1.9.5', new asn1js.UTCTime({ valueDate: new Date('2026-01-01T00:00:00Z') })),
    attribute('1.2.840.113549.1.9.4', new asn1js.OctetString({ valueHex: digest })),
  ];
  const signed = new pkijs.SignedData({
    encapContentInfo: new pkijs.EncapsulatedContentInfo({
      eContentType: '1.2.840.113549.1.7.1', eContent: new asn1js.OctetString({ valueHex: text }),
    }),
    signerInfos: [new pkijs.SignerInfo({
      sid: new pkijs.IssuerAndSerialNumber({ issuer: certificate.issuer, serialNumber: certificate.serialNumber }),
      signedAttrs: new pkijs.SignedAndUnsignedAttributes({ type: 0, attributes }),
    })],
    certificates: [certificate],
  });
  await signed.sign(key, 0, hash);
  const info = new pkijs.ContentInfo({ contentType: '1.2.840.113549.1.7.2', content: signed.toSchema(true) });
  const lines = Buffer.from(info.toSchema().toBER(false)).toString('base64').match(/.{1,64}/g);
  const head = ['From: rsa2048@example.net', 'Subject: Outside', 'MIME-Version: 1.0',
    'Content-Type: application/pkcs7-mime; smime-type=signed-data', 'Content-Transfer-Encoding: base64', ''];
  writeFileSync(`${folder}/sig-pkijs-rsa-${hash.toLowerCase().replace('-', '')}.eml`, [...head, ...lines, ''].join('\r\n'));
}
