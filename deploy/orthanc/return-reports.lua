-- Send each report that the forwarder stores on to the PACS, by C-STORE. Films came from there and stay here.
-- To use it, name it in orthanc.json, and say who the PACS is:
--   "LuaScripts": ["/usr/share/orthanc/return-reports.lua"],
--   "DicomModalities": { "pacs": ["PACS", "pacs.hospital.example", 104] }

function OnStoredInstance(instance, tags, metadata, origin)
  -- What came by DIMSE may have come from the PACS itself, and would go round in circles.
  if tags['Modality'] == 'SR' and origin['RequestOrigin'] == 'RestApi' then
    SendToModality(instance, 'pacs')
  end
end
